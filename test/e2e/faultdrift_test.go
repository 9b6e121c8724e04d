//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/diagnose"
)

// TestDriftIsFoundAndRepaired has rows and flows changed behind the network's back that nobody
// puts back by himself, or not soon.
func TestDriftIsFoundAndRepaired(t *testing.T) {
	c := open(t)
	nodes := c.nodes(t)
	node := nodes[len(nodes)-1]
	ns := c.namespace(t)
	pod := c.start(t, podOn(ns, "here", node))[0]
	c.healthy(t)
	t.Run("rows that somebody keeps changing", func(t *testing.T) { c.keptChanging(t, node, ns+"_"+pod.Name, ns+"/"+pod.Name) })
	t.Run("host", func(t *testing.T) {
		answer := c.inSystem(t, "ovnkube-node", node, "ovnkube-controller", "ovnkctl", "run", "repair", "--config=/etc/ovnkctl/config.yaml", `{"host":true,"keys":[{"feature":"x","key":"y"}]}`)
		if want := `{"keys":[{"feature":"x","key":"y","result":"unknown","why":"this node runs no feature x"}],"host":{"result":"done"}}`; strings.TrimSpace(answer) != want {
			t.Errorf("answer %s, want %s", answer, want)
		}
	})
	t.Run("flows of br-int", func(t *testing.T) { c.flowsOfOthers(t, node) })
}

// slow is longer than two looks of diagnose take.
const slow = 5 * time.Second

// keptChanging changes a row until it is put back so slowly that two looks find it, and has it
// repaired.
func (c *cluster) keptChanging(t *testing.T, node, port, key string) {
	addresses := func() string {
		return c.nbctl(t, node, "--bare", "--columns=addresses", "find", "Logical_Switch_Port", "name="+port)
	}
	right := addresses()
	spoil := func() { c.nbctl(t, node, "lsp-set-addresses", port, "0a:58:00:00:00:99 192.0.2.99") }
	took := time.Duration(0)
	for range 30 {
		spoil()
		began := time.Now()
		until(t, "it is put back", func(context.Context) error {
			if now := addresses(); now != right {
				return fmt.Errorf("addresses %q, were %q", now, right)
			}
			return nil
		})
		if took = time.Since(began); took >= slow {
			break
		}
	}
	if took < slow {
		t.Fatalf("it is put back after %s still, however often it is changed", took)
	}
	spoil() // and it would take twice as long now
	var r diagnose.RepairReport
	if err := c.diagnosis(t.Context(), &r, "drift", "--repair", "--yes"); err != nil {
		t.Fatal(err)
	}
	if len(r.Asked) != 1 || r.Asked[0].Node != node || r.Asked[0].Feature != "pods" || r.Asked[0].Key != key || r.Asked[0].Result != "done" || r.Before != 1 || len(r.After.Findings) != 0 {
		t.Errorf("repair: %+v, and then %+v", r.Asked, r.After)
	}
	if now := addresses(); now != right {
		t.Errorf("addresses %q after the repair, %q before", now, right)
	}
}

// flowsOfOthers makes and deletes flows that ovn-controller does not look at again; what the
// finding proposes has it do so.
func (c *cluster) flowsOfOthers(t *testing.T, node string) {
	ofctl := func(args ...string) {
		c.inSystem(t, "ovs-node", node, "ovs-daemons", append([]string{"ovs-ofctl", "-O", "OpenFlow13"}, args...)...)
	}
	ofctl("add-flow", "br-int", "table=8,priority=65000,ip,nw_dst=192.0.2.1,actions=drop")
	ofctl("del-flows", "br-int", "table=20")
	var r struct{ Findings []found }
	until(t, "it is found", func(ctx context.Context) error {
		if err := c.diagnosis(ctx, &r, "drift"); err != nil {
			return err
		}
		// A flow has to be some seconds old: its row may come.
		if !slices.ContainsFunc(r.Findings, func(f found) bool { return strings.Contains(f.Message, "nw_dst=192.0.2.1") }) {
			return fmt.Errorf("found %v", r.Findings)
		}
		return nil
	})
	if len(r.Findings) != 1 || r.Findings[0].Code != "OVNK-DRIFT-003" || r.Findings[0].Node != node {
		t.Fatalf("found %v", r.Findings)
	}
	var repaired diagnose.RepairReport
	if err := c.diagnosis(t.Context(), &repaired, "drift", "--repair", "--yes"); err != nil {
		t.Fatal(err)
	}
	if len(repaired.Asked) != 0 || len(repaired.After.Findings) != 1 {
		t.Errorf("repair: %+v", repaired)
	}
	c.follow(t, r.Findings[0].Next)
	until(t, "all is as it should be", func(ctx context.Context) error {
		var now struct {
			Findings []found
			Problems []any
		}
		if err := c.diagnosis(ctx, &now, "drift"); err != nil {
			return err
		}
		if len(now.Findings)+len(now.Problems) > 0 {
			return errors.New(fmt.Sprint(now))
		}
		return nil
	})
	c.systemReady(t, node)
}
