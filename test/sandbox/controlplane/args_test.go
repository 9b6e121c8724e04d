package controlplane

import (
	"slices"
	"strings"
	"testing"

	"github.com/ovnkctl/ovnkctl/test/sandbox/plan"
)

func TestAPIServerArgumentsFollowTheFamily(t *testing.T) {
	t.Parallel()
	tests := map[plan.Family][]string{
		plan.Dual: {"--bind-address=::", "--advertise-address=172.30.250.11", "--service-cluster-ip-range=10.96.0.0/16,fd00:10:96::/112"},
		plan.IPv4: {"--bind-address=0.0.0.0", "--advertise-address=172.30.250.11", "--service-cluster-ip-range=10.96.0.0/16"},
		plan.IPv6: {"--bind-address=::", "--advertise-address=fd30:250::11", "--service-cluster-ip-range=fd00:10:96::/112"},
	}
	for f, want := range tests {
		got := args{plan: plan.New(f), pki: "/pki", state: "/state"}.apiserver()
		for _, w := range want {
			if !slices.Contains(got, w) {
				t.Errorf("%s: no %s in %q", f, w, got)
			}
		}
	}
}

func TestControllerManagerLeavesNodeSubnetsAlone(t *testing.T) {
	t.Parallel()
	got := args{plan: plan.New(plan.Dual)}.manager()
	if !slices.Contains(got, "--allocate-node-cidrs=false") {
		t.Errorf("arguments %q", got)
	}
	if slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, "--cluster-cidr") }) {
		t.Errorf("a cluster CIDR would start the route controller: %q", got)
	}
}

func TestNoArgumentIsGivenTwice(t *testing.T) {
	t.Parallel()
	a := args{plan: plan.New(plan.Dual), pki: "/pki", state: "/state"}
	for name, list := range map[string][]string{etcd: a.etcd(), apiserver: a.apiserver(), manager: a.manager(), scheduler: a.scheduler()} {
		seen := map[string]bool{}
		for _, s := range list {
			flag, _, ok := strings.Cut(s, "=")
			bare := s == "--unsafe-no-fsync"
			if (!ok && !bare) || seen[flag] {
				t.Errorf("%s: argument %q is repeated or has no value", name, s)
			}
			seen[flag] = true
		}
	}
}
