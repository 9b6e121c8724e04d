package install

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/version"

	"github.com/ovnkctl/ovnkctl/internal/config"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// oldest is the oldest Kubernetes with ValidatingAdmissionPolicies (v1) and the node's
// name in bound tokens.
var oldest = version.MustParseGeneric("1.30.0")

// Level is the weight of a finding.
type Level string

// The levels.
const (
	Warning Level = "warning"
	Failure Level = "failure" // nothing is applied
)

// Finding is something about the cluster that an installation trips over.
type Finding struct {
	Check string `json:"check"` // the name by which it can be skipped
	Level Level  `json:"level"`
	What  string `json:"what"`
	Next  string `json:"next"`
}

// subject is what is checked: a configuration against a cluster.
type subject struct {
	*cluster
	facts     *facts
	namespace string
	config    *config.Config
	previous  *config.Config // of the installation to upgrade, nil for none
	detected  []Detection
}

// checks are all checks, by the names that --skip-check takes.
var checks = []struct {
	name string
	run  func(context.Context, *subject) ([]Finding, error)
}{
	{"version", checkVersion},
	{"permissions", checkPermissions},
	{"namespace", checkNamespace},
	{"other-cni", checkOtherNetworks},
	{"kube-proxy", checkKubeProxy},
	{"api-server", checkAPIServer},
	{"service-subnets", checkServiceSubnets},
	{"node-addresses", checkNodeAddresses},
	{"network-change", checkNetworkChange},
}

// CheckNames are the names of the checks.
func CheckNames() []string {
	var names []string
	for _, c := range checks {
		names = append(names, c.name)
	}
	return names
}

// check runs all checks; those to skip only warn.
func check(ctx context.Context, s *subject, skip []string) ([]Finding, error) {
	for _, name := range skip {
		if name != "all" && !slices.Contains(CheckNames(), name) {
			return nil, usage("--skip-check %s: the checks are %s, all", name, strings.Join(CheckNames(), ", "))
		}
	}
	var all []Finding
	for _, c := range checks {
		findings, err := c.run(ctx, s)
		if err != nil {
			return nil, fmt.Errorf("check %s: %w", c.name, err)
		}
		for _, f := range findings {
			f.Check = c.name
			if f.Level == Failure && (slices.Contains(skip, c.name) || slices.Contains(skip, "all")) {
				f.Level, f.Next = Warning, "skipped; "+f.Next
			}
			all = append(all, f)
		}
	}
	return all, nil
}

// failed is the error of findings that stop an installation.
func failed(findings []Finding) error {
	var names []string
	for _, f := range findings {
		if f.Level == Failure && !slices.Contains(names, f.Check) {
			names = append(names, f.Check)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return &Problem{What: "the cluster is not ready for the network: " + strings.Join(names, ", "),
		Next: "nothing was changed; if you know better: --skip-check " + strings.Join(names, ",")}
}

func fail(next, format string, args ...any) Finding {
	return Finding{Level: Failure, What: fmt.Sprintf(format, args...), Next: next}
}

func warn(next, format string, args ...any) Finding {
	return Finding{Level: Warning, What: fmt.Sprintf(format, args...), Next: next}
}

func checkVersion(_ context.Context, s *subject) ([]Finding, error) {
	if s.facts.version.AtLeast(oldest) {
		return nil, nil
	}
	return []Finding{fail("upgrade Kubernetes", "Kubernetes %s is older than %s: a node's agent cannot be confined to its node",
		s.facts.version, oldest)}, nil
}

// needed are rights without which an installation would stop half-way.
var needed = []authorizationv1.ResourceAttributes{
	{Verb: "create", Resource: "namespaces"},
	{Verb: "create", Group: "apps", Resource: "daemonsets", Namespace: DefaultNamespace},
	{Verb: "create", Resource: "secrets", Namespace: DefaultNamespace},
	{Verb: "create", Group: "rbac.authorization.k8s.io", Resource: "clusterroles"},
	{Verb: "escalate", Group: "rbac.authorization.k8s.io", Resource: "clusterroles"},
	{Verb: "bind", Group: "rbac.authorization.k8s.io", Resource: "clusterroles"},
	{Verb: "create", Group: "admissionregistration.k8s.io", Resource: "validatingadmissionpolicies"},
}

func checkPermissions(ctx context.Context, s *subject) ([]Finding, error) {
	var missing []string
	for _, right := range needed {
		if right.Namespace != "" {
			right.Namespace = s.namespace
		}
		answer, err := s.kube.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
			Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &right},
		}, metav1.CreateOptions{})
		if err != nil {
			return nil, err
		}
		if !answer.Status.Allowed {
			missing = append(missing, right.Verb+" "+right.Resource)
		}
	}
	if len(missing) == 0 {
		return nil, nil
	}
	return []Finding{fail("use the credentials of a cluster administrator (ClusterRole cluster-admin)",
		"you may not: %s", strings.Join(missing, ", "))}, nil
}

func checkNamespace(ctx context.Context, s *subject) ([]Finding, error) {
	ns, err := s.kube.CoreV1().Namespaces().Get(ctx, s.namespace, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, err
	case ns.DeletionTimestamp != nil:
		return []Finding{fail("wait until it is gone: kubectl wait --for=delete namespace/"+s.namespace,
			"namespace %s is being deleted", s.namespace)}, nil
	}
	if level := ns.Labels[podSecurityEnforce]; level != "" && level != "privileged" {
		return []Finding{fail(fmt.Sprintf("kubectl label --overwrite namespace %s %s=privileged", s.namespace, podSecurityEnforce),
			"namespace %s refuses pods with the host's network: its pod security level is %s", s.namespace, level)}, nil
	}
	return nil, nil
}

func checkServiceSubnets(_ context.Context, s *subject) ([]Finding, error) {
	want := s.facts.services.value
	if want == "" {
		return []Finding{warn("make sure that --set network.serviceSubnets is the API server's --service-cluster-ip-range",
			"the service subnets of the cluster are unknown; %s is taken", s.config.Network.ServiceSubnets)}, nil
	}
	if sameCIDRs(want, s.config.Network.ServiceSubnets) {
		return nil, nil
	}
	return []Finding{fail("leave network.serviceSubnets out, or set it to "+want,
		"network.serviceSubnets is %s, but Services have %s (%s)", s.config.Network.ServiceSubnets, want, s.facts.services.source)}, nil
}

func sameCIDRs(a, b string) bool {
	set := func(list string) []string {
		var out []string
		for _, cidr := range strings.Split(list, ",") {
			if p, err := netip.ParsePrefix(strings.TrimSpace(cidr)); err == nil {
				out = append(out, p.Masked().String())
			}
		}
		slices.Sort(out)
		return slices.Compact(out)
	}
	return slices.Equal(set(a), set(b))
}

// checkNodeAddresses: a node inside a subnet of the network would be unreachable from pods.
func checkNodeAddresses(_ context.Context, s *subject) ([]Finding, error) {
	plan, err := s.config.DefaultNetwork()
	if err != nil {
		return nil, err
	}
	var findings []Finding
	linux := 0
	for _, n := range s.facts.nodes {
		if n.Labels[corev1.LabelOSStable] == "linux" {
			linux++
		}
		for _, a := range n.Status.Addresses {
			addr, err := netip.ParseAddr(a.Address)
			if err != nil || a.Type != corev1.NodeInternalIP && a.Type != corev1.NodeExternalIP {
				continue
			}
			if name, prefix, inside := holder(&plan, addr); inside {
				findings = append(findings, fail("choose another "+name+" with --set "+name+"=…",
					"node %s has the address %s, which is in %s of %s", n.Name, addr, prefix, name))
			}
		}
	}
	if linux == 0 {
		findings = append(findings, warn("the network starts on nodes as they join", "the cluster has no Linux node yet"))
	}
	return findings, nil
}

// holder finds the subnet of the network that an address is in. Masquerade subnets are
// link-local and used within each node, where no node has its own address.
func holder(n *world.Network, addr netip.Addr) (string, netip.Prefix, bool) {
	subnets := map[string][]netip.Prefix{
		"network.serviceSubnets": n.ServiceSubnets,
		"network.joinSubnets":    n.JoinSubnets,
		"network.transitSubnets": n.TransitSubnets,
	}
	for _, c := range n.ClusterSubnets {
		subnets["network.clusterSubnets"] = append(subnets["network.clusterSubnets"], c.Prefix)
	}
	for name, prefixes := range subnets {
		for _, p := range prefixes {
			if p.Contains(addr) {
				return name, p, true
			}
		}
	}
	return "", netip.Prefix{}, false
}
