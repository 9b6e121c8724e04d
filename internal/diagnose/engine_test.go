package diagnose

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ovn-kubernetes/libovsdb/model"
	"github.com/ovn-kubernetes/libovsdb/ovsdb"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/ovntest"
	"github.com/ovnkctl/ovnkctl/internal/ovn/sb"
	"github.com/ovnkctl/ovnkctl/internal/runtime/engine"
	"github.com/ovnkctl/ovnkctl/internal/runtime/node"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// written are the rows of a connected database.
func written(db *ovn.DB) *memory {
	m := newMemory()
	db.Read(func(v ovn.View) {
		for _, t := range db.Database().Tables() {
			if !v.Watches(t) {
				continue
			}
			for r := range v.Table(t) {
				m.rows[t] = append(m.rows[t], r.Model)
			}
			slices.SortFunc(m.rows[t], func(a, b model.Model) int { return strings.Compare(uuidOf(a), uuidOf(b)) })
		}
	})
	return m
}

// What the engine writes is no drift, and what is changed then is.
func TestWhatTheEngineWritesIsNoDrift(t *testing.T) {
	t.Parallel()
	c := testCluster(t, func(o *inspect.Objects, _ *inspect.Installation) {
		p := networkingv1.NetworkPolicy{ObjectMeta: meta("shop", "some")}
		port := intstr.FromInt32(8080)
		p.Spec = networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{},
			Ingress: []networkingv1.NetworkPolicyIngressRule{{
				Ports: []networkingv1.NetworkPolicyPort{{Protocol: ptr(corev1.ProtocolTCP), Port: &port}},
				From:  []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}}},
			}},
		}
		o.NetworkPolicies = append(o.NetworkPolicies, p)
	})
	c.Features = node.Features(c.Config)
	n := c.Nodes[0]

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	northbound := ovntest.NB(t).Connect(t)
	southbound := ovntest.SB(t).Connect(t, sb.ChassisTable, sb.EncapTable)
	if _, err := northbound.Transact(ctx, "test", []ovsdb.Operation{ovn.Insert(&nb.NBGlobal{}, "global")}...); err != nil {
		t.Fatal(err)
	}
	var network world.Network
	c.World.Read(func(v world.View) {
		of, _ := v.Network(world.DefaultNetwork)
		network = *of
	})
	store := world.New(world.Config{LocalNode: n.Name, Networks: []world.Network{network}})
	e := engine.New(engine.Config{World: store, NB: northbound, SB: southbound, Features: c.Features})
	c.zone(n).Fill(store)
	store.MarkSynced()
	go e.Run(ctx) //nolint:errcheck // ends with ctx
	select {
	case <-e.Synced():
	case <-ctx.Done():
		t.Fatal("the engine is not in order")
	}

	n.NB, n.SB, n.wishes, n.drifted = written(northbound), written(southbound), nil, nil
	if len(n.NB.Rows(tableOf[nb.ACL]())) == 0 || len(n.SB.Rows(tableOf[sb.Chassis]())) == 0 {
		t.Fatal("the engine wrote no ACL or no chassis")
	}
	for _, d := range c.drifts(n) {
		t.Errorf("%s %s: %s", d.feature, d.key, strings.Join(d.lines, "\n"))
	}

	remove(t, n.NB, func(*nb.ACL) bool { return true })
	n.drifted = nil
	if d := c.drifts(n); len(d) == 0 {
		t.Error("without its ACLs a policy is in order")
	}
}
