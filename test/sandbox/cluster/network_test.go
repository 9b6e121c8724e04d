package cluster

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v4/pkg/strvals"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/ovnkctl/ovnkctl/test/sandbox/plan"
)

// TestInstallValues reads the arguments the way the installer does.
func TestInstallValues(t *testing.T) {
	t.Parallel()
	type m = map[string]any
	got := m{}
	args := installArgs("install", plan.New(plan.Dual), GatewayLocal, "/k", "dev-1")
	for i, a := range args {
		if a == "--set" {
			if err := strvals.ParseInto(args[i+1], got); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := m{
		"image":      m{"repository": "ghcr.io/ovnkctl/ovnkctl", "tag": "dev-1", "pullPolicy": "IfNotPresent"},
		"datapath":   "netdev",
		"gateway":    m{"mode": "local"},
		"kubernetes": m{"emptyLoadBalancerEvents": true},
		"network": m{
			"clusterSubnets": "10.244.0.0/16/24,fd00:10:244::/48/64", "serviceSubnets": "10.96.0.0/16,fd00:10:96::/112", "mtu": int64(1400),
			"enableMulticast": true,
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !strings.HasPrefix(strings.Join(args, " "), "install --wait --kubeconfig /k ") {
		t.Errorf("arguments %q", args)
	}
}

func TestManifestsAreObjectsInEveryFamily(t *testing.T) {
	t.Parallel()
	for _, f := range []plan.Family{plan.Dual, plan.IPv4, plan.IPv6} {
		for name, want := range map[string]int{"coredns": 6, "demo": 2} {
			text, err := renderManifest(name, plan.New(f))
			if err != nil {
				t.Fatal(err)
			}
			objects := 0
			d := yaml.NewYAMLOrJSONDecoder(strings.NewReader(string(text)), 4096)
			for {
				var o metav1.PartialObjectMetadata
				err := d.Decode(&o)
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil || o.Kind == "" || o.Name == "" {
					t.Fatalf("%s, %s: object %d is %+v, %v", name, f, objects, o.TypeMeta, err)
				}
				objects++
			}
			if objects != want {
				t.Errorf("%s, %s: %d objects, want %d", name, f, objects, want)
			}
		}
	}
}

func TestNotReadyNamesTheReason(t *testing.T) {
	t.Parallel()
	with := func(name string, status corev1.ConditionStatus, message string) corev1.Node {
		return corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status, Message: message}}},
		}
	}
	got := notReady([]corev1.Node{
		with("a", corev1.ConditionTrue, "kubelet is posting ready status"),
		with("b", corev1.ConditionFalse, "cni plugin not initialized"),
		{ObjectMeta: metav1.ObjectMeta{Name: "c"}},
	})
	if diff := cmp.Diff([]string{"b: cni plugin not initialized", "c: no report"}, got); diff != "" {
		t.Error(diff)
	}
}
