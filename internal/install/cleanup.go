package install

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"github.com/ovnkctl/ovnkctl/internal/annotation"
)

const (
	cleanupApp = "ovnkctl-cleanup"
	// installationLabel tells the clean-up of this installation from one before it.
	installationLabel = "ovnkctl.io/installation"
	tokenVolume       = "api-access"
)

// What the controller leaves: its Lease, and its condition of Nodes.
const (
	leaseName                              = "ovn-kubernetes-master"
	conditionType corev1.NodeConditionType = "k8s.ovn.org/SubnetsAllocated"
)

// nodeAnnotations are the annotations that the network writes on Nodes. Those of users
// (k8s.ovn.org/node-ingress-snat-exclude-subnets, …) are not among them.
var nodeAnnotations = []string{
	annotation.GatewayMTUSupport.Key(), annotation.L3Gateway.Key(), annotation.NetworkIDs.Key(),
	annotation.NodeChassisID.Key(), annotation.NodeEncapIPs.Key(), annotation.NodeHostAddrs.Key(),
	annotation.NodeID.Key(), annotation.NodeMasquerade.Key(), annotation.NodePrimaryAddrs.Key(),
	annotation.NodeSubnets.Key(), annotation.NodeTransit.Key(), annotation.ZoneProblems.Key(),
}

// agentTemplate is the pod of the agents' DaemonSet among the objects of a release.
func agentTemplate(objects []*unstructured.Unstructured) (*corev1.PodTemplateSpec, error) {
	r := rendered{objects: objects}
	o := r.find("DaemonSet", nodeName)
	if o == nil {
		return nil, fmt.Errorf("release %s has no DaemonSet %s", Release, nodeName)
	}
	ds := &appsv1.DaemonSet{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, ds); err != nil {
		return nil, fmt.Errorf("DaemonSet %s: %w", nodeName, err)
	}
	return &ds.Spec.Template, nil
}

// belongs tells whether a node runs pods of the template. Taints are all tolerated.
func belongs(template *corev1.PodTemplateSpec, node *corev1.Node) bool {
	return labels.SelectorFromSet(template.Spec.NodeSelector).Matches(labels.Set(node.Labels))
}

// cleanupPod takes the network off one node. It is the agent's pod with another command:
// what set a host up has the rights and the mounts to take it down. It is bound to its
// node already, because there may be no scheduler that reaches it, shares the host's
// network, and ends when the host is clean; until then the kubelet runs it again, also
// while the API server cannot be reached.
func cleanupPod(template *corev1.PodTemplateSpec, node, namespace, installation string) (*corev1.Pod, error) {
	i := slices.IndexFunc(template.Spec.Containers, func(c corev1.Container) bool { return c.Name == agentContainer })
	if i < 0 {
		return nil, errors.New("DaemonSet " + nodeName + " has no container " + agentContainer)
	}
	agent := template.Spec.Containers[i]
	spec := corev1.PodSpec{
		NodeName:                      node,
		HostNetwork:                   true,
		DNSPolicy:                     corev1.DNSDefault,
		RestartPolicy:                 corev1.RestartPolicyOnFailure,
		PriorityClassName:             template.Spec.PriorityClassName,
		ServiceAccountName:            template.Spec.ServiceAccountName,
		AutomountServiceAccountToken:  ptr.To(false),
		EnableServiceLinks:            ptr.To(false),
		TerminationGracePeriodSeconds: ptr.To[int64](10),
		ImagePullSecrets:              template.Spec.ImagePullSecrets,
		Tolerations:                   []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
		SecurityContext:               template.Spec.SecurityContext,
		Containers: []corev1.Container{{
			Name:            "cleanup",
			Image:           agent.Image,
			ImagePullPolicy: agent.ImagePullPolicy,
			Command:         []string{"/usr/bin/ovnkctl", "node", "cleanup", "--config=/etc/ovnkctl/config.yaml"},
			Env: []corev1.EnvVar{{Name: "NODE_NAME", ValueFrom: &corev1.EnvVarSource{
				FieldRef: &corev1.ObjectFieldSelector{FieldPath: "spec.nodeName"},
			}}},
			Resources:                agent.Resources,
			SecurityContext:          agent.SecurityContext,
			TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
			VolumeMounts:             allMounts(template.Spec.Containers),
		}},
	}
	for _, v := range template.Spec.Volumes {
		if v.Name != tokenVolume {
			spec.Volumes = append(spec.Volumes, v)
		}
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: cleanupName(node, installation), Namespace: namespace,
			Labels: map[string]string{"app": cleanupApp, installationLabel: installation},
		},
		Spec: spec,
	}, nil
}

// allMounts is the union of the containers' mounts: the databases have directories that
// the agent has not.
func allMounts(containers []corev1.Container) []corev1.VolumeMount {
	var all []corev1.VolumeMount
	for _, c := range containers {
		for _, m := range c.VolumeMounts {
			same := func(o corev1.VolumeMount) bool { return o.MountPath == m.MountPath }
			if m.Name != tokenVolume && !slices.ContainsFunc(all, same) {
				all = append(all, m)
			}
		}
	}
	return all
}

// cleanupName fits any node name: it may be as long as a pod's.
func cleanupName(node, installation string) string {
	sum := sha256.Sum256([]byte(installation + "/" + node))
	return cleanupApp + "-" + hex.EncodeToString(sum[:5])
}
