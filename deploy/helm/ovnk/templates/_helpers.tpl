{{/* Labels of every object. Names are fixed: a cluster has one network. */}}
{{- define "ovnk.labels" -}}
app.kubernetes.io/name: ovnk
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | replace "+" "_" | trunc 63 | trimSuffix "-" | quote }}
app.kubernetes.io/part-of: ovn-kubernetes
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Labels of an object that belongs to one component: dict root component. */}}
{{- define "ovnk.componentLabels" -}}
{{ include "ovnk.labels" .root }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* What selects a component's pods. The label app is the one that scripts for
OVN-Kubernetes look for. No label here changes from version to version: it would
replace the pods. */}}
{{- define "ovnk.selector" -}}
app: {{ . }}
app.kubernetes.io/name: ovnk
{{- end }}

{{/* An image reference: dict repository tag digest. */}}
{{- define "ovnk.imageRef" -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag }}{{ end }}
{{- end }}

{{- define "ovnk.image" -}}
{{- include "ovnk.imageRef" (dict
    "repository" .Values.image.repository
    "tag" (.Values.image.tag | default .Chart.AppVersion)
    "digest" .Values.image.digest) }}
{{- end }}

{{/* The image of Open vSwitch may be pinned, so that an upgrade does not restart it. */}}
{{- define "ovnk.ovsImage" -}}
{{- $own := .Values.ovs.image }}
{{- $digest := $own.digest }}
{{- if and (not $own.digest) (not $own.tag) (not $own.repository) }}{{ $digest = .Values.image.digest }}{{ end }}
{{- include "ovnk.imageRef" (dict
    "repository" ($own.repository | default .Values.image.repository)
    "tag" ($own.tag | default .Values.image.tag | default .Chart.AppVersion)
    "digest" $digest) }}
{{- end }}

{{/* The configuration file of all programs; its type is Config in internal/config. */}}
{{- define "ovnk.config" -}}
apiVersion: ovnkctl.io/v1alpha1
kind: Configuration
datapath: {{ .Values.datapath }}
{{- range $section := list "network" "gateway" "policy" "kubernetes" "cni" "ovn" "serving" "log" "leaderElection" }}
{{ $section }}:
  {{- toYaml (get $.Values $section) | nindent 2 }}
{{- end }}
{{- end }}

{{/* Open vSwitch restarts for its own settings alone: each restart interrupts traffic. */}}
{{- define "ovnk.ovsChecksum" -}}
{{ dict "datapath" .Values.datapath "ovn" .Values.ovn | toJson | sha256sum }}
{{- end }}

{{/* An HTTP probe: dict address path. An address without a host is reached at the
node's, where the pods with the host's network are. */}}
{{- define "ovnk.httpGet" -}}
{{- $port := regexFind "[0-9]+$" .address }}
{{- $host := trimSuffix (printf ":%s" $port) .address | trimPrefix "[" | trimSuffix "]" -}}
httpGet:
  path: {{ .path }}
  port: {{ $port }}
  {{- if and $host (ne $host "0.0.0.0") (ne $host "::") }}
  host: {{ $host | quote }}
  {{- end }}
{{- end }}

{{- define "ovnk.livezReadyz" -}}
# Alive before ready: a database that is down makes a program not ready, never restarted.
livenessProbe:
  {{- include "ovnk.httpGet" (dict "address" . "path" "/livez") | nindent 2 }}
  initialDelaySeconds: 10
  periodSeconds: 20
  timeoutSeconds: 10
  failureThreshold: 6
readinessProbe:
  {{- include "ovnk.httpGet" (dict "address" . "path" "/readyz") | nindent 2 }}
  periodSeconds: 5
  timeoutSeconds: 5
{{- end }}

{{/* Probes of a daemon behind `ovnkctl run`, and its end. Each probe starts a process, so
they are rare; a slow answer on a loaded node is no reason to interrupt its traffic. The
first process of a container cannot die of a signal's default action, so it is asked to
exit: flows and the data path stay. */}}
{{- define "ovnk.daemonLife" -}}
# Started is ready for the first time: to wait for another daemon is no reason to restart.
startupProbe:
  exec:
    command: [/usr/bin/ovnkctl, run, probe, {{ . }}, --timeout=5s, --config=/etc/ovnkctl/config.yaml]
  periodSeconds: 2
  timeoutSeconds: 15
  failureThreshold: 1800
readinessProbe:
  exec:
    command: [/usr/bin/ovnkctl, run, probe, {{ . }}, --timeout=5s, --config=/etc/ovnkctl/config.yaml]
  periodSeconds: 30
  timeoutSeconds: 15
livenessProbe:
  exec:
    command: [/usr/bin/ovnkctl, run, probe, {{ . }}, --liveness, --config=/etc/ovnkctl/config.yaml]
  periodSeconds: 60
  timeoutSeconds: 30
  failureThreshold: 5
lifecycle:
  preStop:
    exec:
      command: [/usr/bin/ovnkctl, run, stop, {{ . }}, --config=/etc/ovnkctl/config.yaml]
{{- end }}

{{/* A process of root without any capability: files and sockets of root are all it needs. */}}
{{- define "ovnk.rootWithoutCapabilities" -}}
securityContext:
  runAsUser: 0
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}

{{/* The token that the API server binds to this pod and its node. It is mounted only into
the containers that talk to the API. */}}
{{- define "ovnk.tokenVolume" -}}
- name: api-access
  projected:
    defaultMode: 0444
    sources:
      - serviceAccountToken:
          path: token
          expirationSeconds: 3607
      - configMap:
          name: kube-root-ca.crt
          items:
            - {key: ca.crt, path: ca.crt}
      - downwardAPI:
          items:
            - path: namespace
              fieldRef: {fieldPath: metadata.namespace}
{{- end }}

{{- define "ovnk.tokenMount" -}}
- name: api-access
  mountPath: /var/run/secrets/kubernetes.io/serviceaccount
  readOnly: true
{{- end }}
