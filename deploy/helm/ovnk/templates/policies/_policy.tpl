{{/*
What the ValidatingAdmissionPolicies share. There is one file per actor and kind; each
policy matches the requests of one ServiceAccount and says everything that it may change.
The API server puts the node of a bound token's pod into the request's user info; nobody
but the API server can.
*/}}

{{- define "ovnk.policy.userIs" -}}
request.userInfo.username == 'system:serviceaccount:{{ .root.Release.Namespace }}:{{ .account }}'
{{- end }}

{{/* Variables, for the list of the caller's annotations: its node, and the keys of
annotations that the request changes. */}}
{{- define "ovnk.policy.variables" -}}
- name: own
  expression: >-
    {{ toJson . | replace "\"" "'" | replace "','" "', '" }}
- name: node
  expression: >-
    request.userInfo.?extra[?'authentication.kubernetes.io/node-name'][?0].orValue('')
- name: before
  expression: oldObject.metadata.?annotations.orValue({})
- name: after
  expression: object.metadata.?annotations.orValue({})
- name: changed
  expression: >-
    variables.after.filter(k, !(k in variables.before) || variables.before[k] != variables.after[k]) +
    variables.before.filter(k, !(k in variables.after))
{{- end }}

{{/* A token that is bound to no node is refused: it may be a stolen or a hand-made one. */}}
{{- define "ovnk.policy.hasNode" -}}
- expression: variables.node != ''
  reason: Forbidden
  message: >-
    this ServiceAccount acts for one node, but the token names none: use the token that the
    kubelet mounts into a pod of ovnkube-node
{{- end }}

{{/* Only the caller's annotations may change. */}}
{{- define "ovnk.policy.onlyAnnotations" -}}
- expression: variables.changed.all(k, k in variables.own)
  reason: Forbidden
  messageExpression: >-
    '{{ . }} may change only its own annotations, not ' +
    variables.changed.filter(k, !(k in variables.own)).join(', ')
{{- end }}

{{/* Nothing of the object but annotations may change, and only by an update of the object
itself. managedFields are the API server's own book. */}}
{{- define "ovnk.policy.nothingElse" -}}
- expression: request.?subResource.orValue('') == ''
  reason: Forbidden
  messageExpression: "'{{ . }} may not update the subresource ' + request.?subResource.orValue('')"
- expression: >-
    object.?spec == oldObject.?spec &&
    object.?status == oldObject.?status &&
    {{- include "ovnk.policy.sameMetadata" . | nindent 4 }}
  reason: Forbidden
  message: {{ . }} may change annotations alone, not labels, owners, finalizers, spec or status
{{- end }}

{{- define "ovnk.policy.sameMetadata" -}}
object.metadata.?labels == oldObject.metadata.?labels &&
object.metadata.?finalizers == oldObject.metadata.?finalizers &&
object.metadata.?ownerReferences == oldObject.metadata.?ownerReferences
{{- end }}

{{/* A policy denies from when it is bound: dict root name. */}}
{{- define "ovnk.policy.binding" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ .name }}
  labels:
    {{- include "ovnk.componentLabels" (dict "root" .root "component" "policy") | nindent 4 }}
spec:
  policyName: {{ .name }}
  validationActions: [Deny]
{{- end }}
