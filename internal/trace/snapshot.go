package trace

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/desired"
	"github.com/ovnkctl/ovnkctl/internal/explain"
	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/sb"
	"github.com/ovnkctl/ovnkctl/internal/policy"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// snapshot is an inspected cluster as a Source.
type snapshot struct {
	*explain.Snapshot
	from *inspect.Snapshot
}

// FromSnapshot makes a Source of an inspected cluster.
func FromSnapshot(s *inspect.Snapshot) Source {
	return &snapshot{Snapshot: explain.FromSnapshot(s), from: s}
}

// policyKinds are the kinds that the reference evaluator reads itself.
var policyKinds = []inspect.Resource{
	inspect.NetworkPolicies, inspect.AdminNetworkPolicies, inspect.BaselineAdminNetworkPolicies, inspect.ClusterNetworkPolicies,
	inspect.EgressFirewalls, inspect.ConfigMaps,
}

// Policies implements Source.
func (s *snapshot) Policies(ctx context.Context, node string) (policy.Cluster, error) {
	w, err := s.World(ctx)
	if err != nil {
		return policy.Cluster{}, err
	}
	o, err := s.from.Objects(ctx, policyKinds...)
	if err != nil {
		return policy.Cluster{}, err
	}
	c := ClusterOf(w)
	c.NetworkPolicies, c.AdminNetworkPolicies = o.NetworkPolicies, o.AdminNetworkPolicies
	c.ClusterNetworkPolicies, c.EgressFirewalls = o.ClusterNetworkPolicies, o.EgressFirewalls
	if len(o.BaselineAdminNetworkPolicies) > 0 {
		c.BaselineAdminNetworkPolicy = &o.BaselineAdminNetworkPolicies[0]
	}
	if conf, _ := o.Config(); conf != nil { // World has noted what is wrong with it
		c.AllowICMP = conf.Policy.AllowICMPNetworkPolicy
	}
	if node != "" {
		rows, err := s.Rows(ctx, node)
		if err != nil {
			return policy.Cluster{}, err
		}
		c.DomainNames = domainNames(w, rows)
	}
	return c, nil
}

// domainNames are the addresses that a node knows of the names that policies have.
func domainNames(w *world.Store, rows *explain.Index) (out map[string][]netip.Addr) {
	var sets []*nb.AddressSet
	for _, e := range rows.Entries() {
		if s, ok := e.Model.(*nb.AddressSet); ok {
			sets = append(sets, s)
		}
	}
	w.Read(func(v world.View) { out = desired.Domains(v, sets) })
	return out
}

// Zone implements Source.
func (s *snapshot) Zone(_ context.Context, node string) (Zone, error) {
	return &snapshotZone{snapshot: s, node: s.from.Node(node)}, nil
}

// snapshotZone is a node of an inspected cluster as a Zone.
type snapshotZone struct {
	snapshot *snapshot
	node     *inspect.Node
}

// OVNTrace implements Zone.
func (z *snapshotZone) OVNTrace(ctx context.Context, r Request) (string, error) {
	return z.run(ctx, append([]string{"ovn-trace"}, r.Args()...))
}

// OFProtoTrace implements Zone.
func (z *snapshotZone) OFProtoTrace(ctx context.Context, bridge, flow string) (string, error) {
	return z.run(ctx, []string{"ovs-appctl", "-t", "ovs-vswitchd", "ofproto/trace", bridge, flow})
}

// run runs a program and returns what it printed, of both kinds if it failed.
func (z *snapshotZone) run(ctx context.Context, argv []string) (string, error) {
	out, err := z.node.Exec(ctx, "", argv...)
	if err != nil {
		return "", err
	}
	if out.Code != 0 {
		return "", fmt.Errorf("exit code %d: %s%s", out.Code, strings.TrimSpace(string(out.Stderr)), strings.TrimSpace(string(out.Stdout)))
	}
	return string(out.Stdout), nil
}

// LogicalFlows implements Zone.
func (z *snapshotZone) LogicalFlows(ctx context.Context, starts []string) ([]*sb.LogicalFlow, error) {
	return z.snapshot.LogicalFlows(ctx, z.node.Name(), starts)
}

// Rows implements Zone.
func (z *snapshotZone) Rows(ctx context.Context) (*explain.Index, error) {
	return z.snapshot.Rows(ctx, z.node.Name())
}
