package install

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/ovnkctl/ovnkctl/internal/annotation"
	"github.com/ovnkctl/ovnkctl/internal/runtime/controller"
)

// TestRights lists every right that the chart gives, to whom. Whoever adds one says so
// here; that no right is left over is for the reviewer of the code that needs it.
func TestRights(t *testing.T) {
	t.Parallel()
	want := []string{
		"ovnkube-control-plane cluster: create events.k8s.io/events",
		"ovnkube-control-plane cluster: get apiextensions.k8s.io/customresourcedefinitions adminnetworkpolicies.policy.networking.k8s.io",
		"ovnkube-control-plane cluster: get apiextensions.k8s.io/customresourcedefinitions baselineadminnetworkpolicies.policy.networking.k8s.io",
		"ovnkube-control-plane cluster: get apiextensions.k8s.io/customresourcedefinitions clusternetworkpolicies.policy.networking.k8s.io",
		"ovnkube-control-plane cluster: get apiextensions.k8s.io/customresourcedefinitions egressfirewalls.k8s.ovn.org",
		"ovnkube-control-plane cluster: get discovery.k8s.io/endpointslices",
		"ovnkube-control-plane cluster: get k8s.ovn.org/egressfirewalls",
		"ovnkube-control-plane cluster: get namespaces",
		"ovnkube-control-plane cluster: get networking.k8s.io/networkpolicies",
		"ovnkube-control-plane cluster: get networking.k8s.io/servicecidrs",
		"ovnkube-control-plane cluster: get nodes",
		"ovnkube-control-plane cluster: get policy.networking.k8s.io/adminnetworkpolicies",
		"ovnkube-control-plane cluster: get policy.networking.k8s.io/baselineadminnetworkpolicies",
		"ovnkube-control-plane cluster: get policy.networking.k8s.io/clusternetworkpolicies",
		"ovnkube-control-plane cluster: get services",
		"ovnkube-control-plane cluster: list apiextensions.k8s.io/customresourcedefinitions adminnetworkpolicies.policy.networking.k8s.io",
		"ovnkube-control-plane cluster: list apiextensions.k8s.io/customresourcedefinitions baselineadminnetworkpolicies.policy.networking.k8s.io",
		"ovnkube-control-plane cluster: list apiextensions.k8s.io/customresourcedefinitions clusternetworkpolicies.policy.networking.k8s.io",
		"ovnkube-control-plane cluster: list apiextensions.k8s.io/customresourcedefinitions egressfirewalls.k8s.ovn.org",
		"ovnkube-control-plane cluster: list discovery.k8s.io/endpointslices",
		"ovnkube-control-plane cluster: list k8s.ovn.org/egressfirewalls",
		"ovnkube-control-plane cluster: list namespaces",
		"ovnkube-control-plane cluster: list networking.k8s.io/networkpolicies",
		"ovnkube-control-plane cluster: list networking.k8s.io/servicecidrs",
		"ovnkube-control-plane cluster: list nodes",
		"ovnkube-control-plane cluster: list policy.networking.k8s.io/adminnetworkpolicies",
		"ovnkube-control-plane cluster: list policy.networking.k8s.io/baselineadminnetworkpolicies",
		"ovnkube-control-plane cluster: list policy.networking.k8s.io/clusternetworkpolicies",
		"ovnkube-control-plane cluster: list services",
		"ovnkube-control-plane cluster: patch events.k8s.io/events",
		"ovnkube-control-plane cluster: patch k8s.ovn.org/egressfirewalls/status",
		"ovnkube-control-plane cluster: patch nodes",
		"ovnkube-control-plane cluster: patch nodes/status",
		"ovnkube-control-plane cluster: patch policy.networking.k8s.io/adminnetworkpolicies/status",
		"ovnkube-control-plane cluster: patch policy.networking.k8s.io/baselineadminnetworkpolicies/status",
		"ovnkube-control-plane cluster: patch policy.networking.k8s.io/clusternetworkpolicies/status",
		"ovnkube-control-plane cluster: watch apiextensions.k8s.io/customresourcedefinitions adminnetworkpolicies.policy.networking.k8s.io",
		"ovnkube-control-plane cluster: watch apiextensions.k8s.io/customresourcedefinitions baselineadminnetworkpolicies.policy.networking.k8s.io",
		"ovnkube-control-plane cluster: watch apiextensions.k8s.io/customresourcedefinitions clusternetworkpolicies.policy.networking.k8s.io",
		"ovnkube-control-plane cluster: watch apiextensions.k8s.io/customresourcedefinitions egressfirewalls.k8s.ovn.org",
		"ovnkube-control-plane cluster: watch discovery.k8s.io/endpointslices",
		"ovnkube-control-plane cluster: watch k8s.ovn.org/egressfirewalls",
		"ovnkube-control-plane cluster: watch namespaces",
		"ovnkube-control-plane cluster: watch networking.k8s.io/networkpolicies",
		"ovnkube-control-plane cluster: watch networking.k8s.io/servicecidrs",
		"ovnkube-control-plane cluster: watch nodes",
		"ovnkube-control-plane cluster: watch policy.networking.k8s.io/adminnetworkpolicies",
		"ovnkube-control-plane cluster: watch policy.networking.k8s.io/baselineadminnetworkpolicies",
		"ovnkube-control-plane cluster: watch policy.networking.k8s.io/clusternetworkpolicies",
		"ovnkube-control-plane cluster: watch services",
		"ovnkube-control-plane ovn-kubernetes: create coordination.k8s.io/leases",
		"ovnkube-control-plane ovn-kubernetes: get coordination.k8s.io/leases " + controller.LeaseName,
		"ovnkube-control-plane ovn-kubernetes: update coordination.k8s.io/leases " + controller.LeaseName,
		"ovnkube-node cluster: create events.k8s.io/events",
		"ovnkube-node cluster: get apiextensions.k8s.io/customresourcedefinitions adminnetworkpolicies.policy.networking.k8s.io",
		"ovnkube-node cluster: get apiextensions.k8s.io/customresourcedefinitions baselineadminnetworkpolicies.policy.networking.k8s.io",
		"ovnkube-node cluster: get apiextensions.k8s.io/customresourcedefinitions clusternetworkpolicies.policy.networking.k8s.io",
		"ovnkube-node cluster: get apiextensions.k8s.io/customresourcedefinitions egressfirewalls.k8s.ovn.org",
		"ovnkube-node cluster: get discovery.k8s.io/endpointslices",
		"ovnkube-node cluster: get k8s.ovn.org/egressfirewalls",
		"ovnkube-node cluster: get namespaces",
		"ovnkube-node cluster: get networking.k8s.io/networkpolicies",
		"ovnkube-node cluster: get networking.k8s.io/servicecidrs",
		"ovnkube-node cluster: get nodes",
		"ovnkube-node cluster: get pods",
		"ovnkube-node cluster: get policy.networking.k8s.io/adminnetworkpolicies",
		"ovnkube-node cluster: get policy.networking.k8s.io/baselineadminnetworkpolicies",
		"ovnkube-node cluster: get policy.networking.k8s.io/clusternetworkpolicies",
		"ovnkube-node cluster: get services",
		"ovnkube-node cluster: list apiextensions.k8s.io/customresourcedefinitions adminnetworkpolicies.policy.networking.k8s.io",
		"ovnkube-node cluster: list apiextensions.k8s.io/customresourcedefinitions baselineadminnetworkpolicies.policy.networking.k8s.io",
		"ovnkube-node cluster: list apiextensions.k8s.io/customresourcedefinitions clusternetworkpolicies.policy.networking.k8s.io",
		"ovnkube-node cluster: list apiextensions.k8s.io/customresourcedefinitions egressfirewalls.k8s.ovn.org",
		"ovnkube-node cluster: list discovery.k8s.io/endpointslices",
		"ovnkube-node cluster: list k8s.ovn.org/egressfirewalls",
		"ovnkube-node cluster: list namespaces",
		"ovnkube-node cluster: list networking.k8s.io/networkpolicies",
		"ovnkube-node cluster: list networking.k8s.io/servicecidrs",
		"ovnkube-node cluster: list nodes",
		"ovnkube-node cluster: list pods",
		"ovnkube-node cluster: list policy.networking.k8s.io/adminnetworkpolicies",
		"ovnkube-node cluster: list policy.networking.k8s.io/baselineadminnetworkpolicies",
		"ovnkube-node cluster: list policy.networking.k8s.io/clusternetworkpolicies",
		"ovnkube-node cluster: list services",
		"ovnkube-node cluster: patch events.k8s.io/events",
		"ovnkube-node cluster: patch nodes",
		"ovnkube-node cluster: patch pods",
		"ovnkube-node cluster: watch apiextensions.k8s.io/customresourcedefinitions adminnetworkpolicies.policy.networking.k8s.io",
		"ovnkube-node cluster: watch apiextensions.k8s.io/customresourcedefinitions baselineadminnetworkpolicies.policy.networking.k8s.io",
		"ovnkube-node cluster: watch apiextensions.k8s.io/customresourcedefinitions clusternetworkpolicies.policy.networking.k8s.io",
		"ovnkube-node cluster: watch apiextensions.k8s.io/customresourcedefinitions egressfirewalls.k8s.ovn.org",
		"ovnkube-node cluster: watch discovery.k8s.io/endpointslices",
		"ovnkube-node cluster: watch k8s.ovn.org/egressfirewalls",
		"ovnkube-node cluster: watch namespaces",
		"ovnkube-node cluster: watch networking.k8s.io/networkpolicies",
		"ovnkube-node cluster: watch networking.k8s.io/servicecidrs",
		"ovnkube-node cluster: watch nodes",
		"ovnkube-node cluster: watch pods",
		"ovnkube-node cluster: watch policy.networking.k8s.io/adminnetworkpolicies",
		"ovnkube-node cluster: watch policy.networking.k8s.io/baselineadminnetworkpolicies",
		"ovnkube-node cluster: watch policy.networking.k8s.io/clusternetworkpolicies",
		"ovnkube-node cluster: watch services",
	}
	r := testRender(t)
	rules := map[string][]rbacv1.PolicyRule{}
	for _, o := range r.objects {
		if o.GetKind() == "ClusterRole" || o.GetKind() == "Role" {
			role := convert[rbacv1.Role](t, o)
			rules[o.GetKind()+"/"+o.GetName()] = role.Rules
		}
	}
	var got []string
	for _, o := range r.objects {
		if o.GetKind() != "ClusterRoleBinding" && o.GetKind() != "RoleBinding" {
			continue
		}
		binding := convert[rbacv1.RoleBinding](t, o)
		where := binding.Namespace
		if where == "" {
			where = "cluster"
		}
		granted, ok := rules[binding.RoleRef.Kind+"/"+binding.RoleRef.Name]
		if !ok {
			t.Errorf("%s %s refers to %s, which the chart does not have", o.GetKind(), o.GetName(), binding.RoleRef.Name)
		}
		for _, subject := range binding.Subjects {
			if subject.Kind != "ServiceAccount" || subject.Namespace != DefaultNamespace {
				t.Errorf("%s is bound to %+v", o.GetName(), subject)
			}
			got = append(got, spell(subject.Name+" "+where, granted)...)
		}
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, line := range got {
		if strings.Contains(line, "*") {
			t.Errorf("a right to everything: %s", line)
		}
	}
}

func spell(who string, rules []rbacv1.PolicyRule) []string {
	var out []string
	for _, rule := range rules {
		names := rule.ResourceNames
		if len(names) == 0 {
			names = []string{""}
		}
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					for _, name := range names {
						out = append(out, strings.TrimSpace(fmt.Sprintf("%s: %s %s %s", who, verb, strings.TrimPrefix(group+"/"+resource, "/"), name)))
					}
				}
			}
		}
	}
	return out
}

func convert[T any](t *testing.T, o *unstructured.Unstructured) *T {
	t.Helper()
	to := new(T)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, to); err != nil {
		t.Fatalf("%s %s: %v", o.GetKind(), o.GetName(), err)
	}
	return to
}

// TestNamesOfTheController: what the controller leaves in the cluster is taken away.
func TestNamesOfTheController(t *testing.T) {
	t.Parallel()
	if leaseName != controller.LeaseName || conditionType != controller.ConditionType {
		t.Errorf("lease %s and condition %s; the controller has %s and %s", leaseName, conditionType, controller.LeaseName, controller.ConditionType)
	}
}

// TestPrivileges says what each container may do beyond its own files.
func TestPrivileges(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"ovnkube-control-plane/ovnkube-cluster-manager": "uid 65532, token",
		"ovs-node/ovsdb-server":                         "uid 0",
		"ovs-node/ovs-daemons":                          "uid 0, NET_ADMIN NET_RAW NET_BROADCAST SYS_NICE IPC_LOCK, /dev/net/tun",
		"ovnkube-node/nb-ovsdb":                         "uid 0",
		"ovnkube-node/sb-ovsdb":                         "uid 0",
		"ovnkube-node/ovn-northd":                       "uid 0",
		"ovnkube-node/ovn-controller":                   "uid 0",
		"ovnkube-node/ovnkube-controller":               "uid 0, NET_ADMIN NET_RAW SYS_ADMIN, token",
	}
	got := map[string]string{}
	for name, spec := range podSpecs(t, testRender(t, "datapath=netdev")) {
		if !spec.HostNetwork || spec.HostPID || spec.HostIPC || spec.AutomountServiceAccountToken == nil || *spec.AutomountServiceAccountToken {
			t.Errorf("%s: hostNetwork %v, hostPID %v, hostIPC %v", name, spec.HostNetwork, spec.HostPID, spec.HostIPC)
		}
		if p := spec.SecurityContext.SeccompProfile; p == nil || p.Type != corev1.SeccompProfileTypeRuntimeDefault {
			t.Errorf("%s: seccomp %v", name, p)
		}
		for _, c := range spec.Containers {
			got[name+"/"+c.Name] = privileges(t, &spec, &c)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func privileges(t *testing.T, spec *corev1.PodSpec, c *corev1.Container) string {
	t.Helper()
	s := c.SecurityContext
	if s.Privileged != nil && *s.Privileged || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem ||
		!slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) {
		t.Errorf("container %s: %+v", c.Name, s)
	}
	uid := spec.SecurityContext.RunAsUser
	if s.RunAsUser != nil {
		uid = s.RunAsUser
	}
	out := []string{fmt.Sprintf("uid %d", *uid)}
	var caps []string
	for _, capability := range s.Capabilities.Add {
		caps = append(caps, string(capability))
	}
	if len(caps) > 0 {
		out = append(out, strings.Join(caps, " "))
	}
	if !slices.Contains(caps, "SYS_ADMIN") && (s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation) {
		t.Errorf("container %s may gain privileges", c.Name)
	}
	if s.AppArmorProfile != nil {
		out = append(out, "AppArmor "+string(s.AppArmorProfile.Type))
	}
	for _, m := range c.VolumeMounts {
		switch {
		case m.Name == tokenVolume:
			out = append(out, "token")
		case strings.HasPrefix(m.MountPath, "/dev"):
			out = append(out, m.MountPath)
		}
	}
	return strings.Join(out, ", ")
}

func podSpecs(t *testing.T, r *rendered) map[string]corev1.PodSpec {
	t.Helper()
	specs := map[string]corev1.PodSpec{}
	for _, o := range r.objects {
		switch o.GetKind() {
		case "DaemonSet":
			specs[o.GetName()] = convert[appsv1.DaemonSet](t, o).Spec.Template.Spec
		case "Deployment":
			specs[o.GetName()] = convert[appsv1.Deployment](t, o).Spec.Template.Spec
		}
	}
	return specs
}

// TestPods holds for every pod whatever the values are: mounts have volumes, every
// container has a request and says why it ended, all probes name what exists.
func TestPods(t *testing.T) {
	t.Parallel()
	for _, set := range [][]string{nil, {"datapath=netdev"}, {"controller.replicas=3", "node.privileged=true", "ovs.privileged=true"}} {
		for name, spec := range podSpecs(t, testRender(t, set...)) {
			if !strings.HasPrefix(spec.PriorityClassName, "system-") {
				t.Errorf("%s: priority class %q", name, spec.PriorityClassName)
			}
			volumes := map[string]bool{}
			for _, v := range spec.Volumes {
				volumes[v.Name] = true
			}
			for _, c := range spec.Containers {
				if c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() {
					t.Errorf("%s/%s requests nothing", name, c.Name)
				}
				if c.TerminationMessagePolicy != corev1.TerminationMessageFallbackToLogsOnError {
					t.Errorf("%s/%s does not say why it ended", name, c.Name)
				}
				if c.LivenessProbe == nil || c.ReadinessProbe == nil {
					t.Errorf("%s/%s has no probes", name, c.Name)
				}
				for _, m := range c.VolumeMounts {
					if !volumes[m.Name] {
						t.Errorf("%s/%s mounts %s, which is no volume", name, c.Name, m.Name)
					}
				}
			}
		}
	}
}

// TestPoliciesNameTheAnnotations: the policies allow exactly what the code writes.
func TestPoliciesNameTheAnnotations(t *testing.T) {
	t.Parallel()
	want := map[string][]string{
		"ovnkube-node-nodes": {
			annotation.GatewayMTUSupport.Key(), annotation.NodeHostAddrs.Key(), annotation.L3Gateway.Key(), annotation.NodeChassisID.Key(),
			annotation.NodeEncapIPs.Key(), annotation.NodeMasquerade.Key(), annotation.NodePrimaryAddrs.Key(), annotation.ZoneProblems.Key(),
		},
		"ovnkube-node-pods":           {annotation.PodNetworks.Key()},
		"ovnkube-control-plane-nodes": {annotation.NetworkIDs.Key(), annotation.NodeID.Key(), annotation.NodeSubnets.Key(), annotation.NodeTransit.Key()},
	}
	got := map[string][]string{}
	var ofNodes []string
	for _, o := range testRender(t).objects {
		if o.GetKind() != "ValidatingAdmissionPolicy" {
			continue
		}
		variables, _, _ := unstructured.NestedSlice(o.Object, "spec", "variables")
		for _, v := range variables {
			if fields, ok := v.(map[string]any); ok && fields["name"] == "own" {
				list := strings.Trim(fmt.Sprint(fields["expression"]), "[]\n ")
				for _, quoted := range strings.Split(list, ", ") {
					got[o.GetName()] = append(got[o.GetName()], strings.Trim(quoted, "'"))
				}
			}
		}
		if strings.HasSuffix(o.GetName(), "nodes") {
			ofNodes = append(ofNodes, got[o.GetName()]...)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	slices.Sort(ofNodes)
	removed := slices.Sorted(slices.Values(nodeAnnotations))
	if diff := cmp.Diff(ofNodes, removed); diff != "" {
		t.Errorf("uninstall does not remove what the policies allow to write:\n%s", diff)
	}
}
