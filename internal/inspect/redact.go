package inspect

import (
	"context"
	"regexp"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/network-policy-api/apis/v1alpha1"
	"sigs.k8s.io/network-policy-api/apis/v1alpha2"

	egressfirewallv1 "github.com/ovnkctl/ovnkctl/api/egressfirewall/v1"
)

// Redacted is what secrets are replaced by.
const Redacted = "REDACTED"

// Secrets are never read. What follows is for those that people put elsewhere: into pods'
// environment and command lines, annotations, options of tunnels, logs.

// ObjectFile is a kind of objects as a file of a bundle.
type ObjectFile struct {
	Path string
	Data []byte
}

// ObjectFiles are the Kubernetes objects as files of a bundle, without secrets.
func (s *Snapshot) ObjectFiles(ctx context.Context) ([]ObjectFile, error) {
	all, err := s.load(ctx, resources)
	if err != nil {
		return nil, err
	}
	redactObjects(&all)
	var out []ObjectFile
	for _, r := range resources {
		data, err := r.marshal(&all)
		if err != nil {
			return out, err
		}
		out = append(out, ObjectFile{r.file(), data})
	}
	return out, nil
}

// redactObjects replaces slices by copies without secrets.
func redactObjects(e *everything) {
	e.Nodes = redacted(e.Nodes, func(o *corev1.Node) { redactMeta(&o.ObjectMeta) })
	e.Namespaces = redacted(e.Namespaces, func(o *corev1.Namespace) { redactMeta(&o.ObjectMeta) })
	e.Services = redacted(e.Services, func(o *corev1.Service) { redactMeta(&o.ObjectMeta) })
	e.Pods = redacted(e.Pods, func(o *corev1.Pod) {
		redactMeta(&o.ObjectMeta)
		redactPod(&o.Spec)
	})
	e.DaemonSets = redacted(e.DaemonSets, func(o *appsv1.DaemonSet) {
		redactMeta(&o.ObjectMeta)
		redactPod(&o.Spec.Template.Spec)
	})
	e.Deployments = redacted(e.Deployments, func(o *appsv1.Deployment) {
		redactMeta(&o.ObjectMeta)
		redactPod(&o.Spec.Template.Spec)
	})
	e.NetworkPolicies = redacted(e.NetworkPolicies, func(o *networkingv1.NetworkPolicy) { redactMeta(&o.ObjectMeta) })
	e.EndpointSlices = redacted(e.EndpointSlices, func(o *discoveryv1.EndpointSlice) { redactMeta(&o.ObjectMeta) })
	e.ServiceCIDRs = redacted(e.ServiceCIDRs, func(o *networkingv1.ServiceCIDR) { redactMeta(&o.ObjectMeta) })
	e.AdminNetworkPolicies = redacted(e.AdminNetworkPolicies, func(o *v1alpha1.AdminNetworkPolicy) { redactMeta(&o.ObjectMeta) })
	e.BaselineAdminNetworkPolicies = redacted(e.BaselineAdminNetworkPolicies, func(o *v1alpha1.BaselineAdminNetworkPolicy) { redactMeta(&o.ObjectMeta) })
	e.ClusterNetworkPolicies = redacted(e.ClusterNetworkPolicies, func(o *v1alpha2.ClusterNetworkPolicy) { redactMeta(&o.ObjectMeta) })
	e.EgressFirewalls = redacted(e.EgressFirewalls, func(o *egressfirewallv1.EgressFirewall) { redactMeta(&o.ObjectMeta) })
	e.ConfigMaps = redacted(e.ConfigMaps, func(o *corev1.ConfigMap) { redactMeta(&o.ObjectMeta) })
	e.Events = redacted(e.Events, func(o *corev1.Event) {
		o.ManagedFields = nil
		o.Message = RedactText(o.Message)
	})
}

// redactMeta keeps annotations of Kubernetes and of the network; others may hold anything.
func redactMeta(m *metav1.ObjectMeta) {
	m.ManagedFields = nil
	if len(m.Annotations) == 0 {
		return
	}
	kept := make(map[string]string, len(m.Annotations))
	for key, value := range m.Annotations {
		switch {
		case key == corev1.LastAppliedConfigAnnotation: // the object once more, with its secrets
		case ofNetwork(key):
			kept[key] = value
		default:
			kept[key] = Redacted
		}
	}
	m.Annotations = kept
}

// ofNetwork are annotations that the network, or what explains it, reads.
func ofNetwork(key string) bool {
	domain, name, _ := strings.Cut(key, "/")
	if name == "idled-at" {
		return true
	}
	for _, d := range []string{"k8s.ovn.org", "kubernetes.io", "ovnkctl.io", "cni.cncf.io"} {
		if domain == d || strings.HasSuffix(domain, "."+d) {
			return true
		}
	}
	return false
}

// redactPod keeps of containers what the network is about.
func redactPod(s *corev1.PodSpec) {
	s.InitContainers = redacted(s.InitContainers, redactContainer)
	s.Containers = redacted(s.Containers, redactContainer)
	s.EphemeralContainers = redacted(s.EphemeralContainers, func(c *corev1.EphemeralContainer) {
		*c = corev1.EphemeralContainer{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: c.Name, Image: c.Image, Ports: c.Ports}}
	})
	s.Volumes, s.ImagePullSecrets = nil, nil
}

func redactContainer(c *corev1.Container) {
	*c = corev1.Container{
		Name: c.Name, Image: c.Image, Ports: c.Ports, Resources: c.Resources, RestartPolicy: c.RestartPolicy,
		ReadinessProbe: withoutHeaders(c.ReadinessProbe), LivenessProbe: withoutHeaders(c.LivenessProbe), StartupProbe: withoutHeaders(c.StartupProbe),
	}
}

// withoutHeaders is a probe, which matters to policies, without what it says.
func withoutHeaders(p *corev1.Probe) *corev1.Probe {
	if p == nil {
		return nil
	}
	out := *p
	if out.HTTPGet != nil {
		get := *out.HTTPGet
		get.HTTPHeaders = nil
		out.HTTPGet = &get
	}
	if out.Exec != nil {
		out.Exec = &corev1.ExecAction{}
	}
	return &out
}

// redacted is a copy of a list, each element of which was given to f.
func redacted[T any](list []T, f func(*T)) []T {
	out := make([]T, len(list))
	copy(out, list)
	for i := range out {
		f(&out[i])
	}
	return out
}

// secretName are names of options whose values nobody else may see.
var secretName = regexp.MustCompile(`(?i)(^|[-_.])(psk|password|passwd|secret|token|private[-_]?key|credentials?)$`)

// RedactRow replaces what is secret in a row of a database, in OVSDB's notation: the keys of
// IPsec tunnels, and whatever else is called a secret. File names of keys are none.
func RedactRow(row map[string]any) {
	for column, v := range row {
		if s, ok := v.(string); ok && secretName.MatchString(column) && !strings.HasPrefix(s, "/") {
			row[column] = Redacted
		}
		list, _ := v.([]any)
		if len(list) != 2 || list[0] != "map" {
			continue
		}
		pairs, _ := list[1].([]any)
		for _, p := range pairs {
			pair, _ := p.([]any)
			if len(pair) != 2 {
				continue
			}
			if key, ok := pair[0].(string); ok && secretName.MatchString(key) {
				if value, ok := pair[1].(string); ok && value != "" && !strings.HasPrefix(value, "/") {
					pair[1] = Redacted
				}
			}
		}
	}
}

// What secrets look like in texts: keys and certificates, tokens of ServiceAccounts and
// others, and values that are called a secret.
var secretTexts = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`(?s)-----BEGIN ([A-Z ]+)-----.*?-----END [A-Z ]+-----`), "-----BEGIN $1----- " + Redacted},
	{regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)?`), Redacted},
	{regexp.MustCompile(`(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}`), "$1 " + Redacted},
	{regexp.MustCompile(`(?i)\b((?:[a-z0-9]+[-_])*(?:psk|password|passwd|secret|token|private[-_]?key))(["']?\s*[:=]\s*["']?)[^\s"',;{}&]+`), "$1$2" + Redacted},
	{regexp.MustCompile(`(?i)\b(https?://[^\s:/@]+):[^\s:/@]+@`), "$1:" + Redacted + "@"},
}

// secretHints tell quickly that a text has none of these: most lines of most texts.
var secretHint = regexp.MustCompile(`(?i)-----BEGIN|\beyJ|bearer|basic|psk|passw|secret|token|private|://[^\s/]*@`)

// RedactText replaces what looks like a secret.
func RedactText(text string) string {
	if !secretHint.MatchString(text) {
		return text
	}
	for _, s := range secretTexts {
		text = s.pattern.ReplaceAllString(text, s.with)
	}
	return text
}
