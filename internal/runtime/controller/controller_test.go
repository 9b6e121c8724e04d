package controller

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const dual = "10.244.0.0/16/24,fd00:10:244::/48/64"

// annotationsOf is what a dual-stack node should have in the end.
func annotationsOf(id, v4, v6, transit string) []string {
	return []string{
		"node-id", id,
		"node-subnets", `{"default":["` + v4 + `","` + v6 + `"]}`,
		"node-transit-switch-port-ifaddr", `{"ipv4":"100.88.0.` + transit + `/16","ipv6":"fd97::` + transit + `/64"}`,
		"network-ids", `{"default":"0"}`,
	}
}

func TestNewCluster(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(dual)
		c.Put(node("b", 1), node("a", 2))
		p := c.start(t, "one")
		c.expect(t, "b", annotationsOf("2", "10.244.0.0/24", "fd00:10:244::/64", "2")...)
		c.expect(t, "a", annotationsOf("3", "10.244.1.0/24", "fd00:10:244:1::/64", "3")...)
		c.Put(node("c", 3))
		c.expect(t, "c", annotationsOf("4", "10.244.2.0/24", "fd00:10:244:2::/64", "4")...)
		c.expectEvents(t)
		c.expectCondition(t, "c", "")
		if n := c.writes(); n != 3 {
			t.Errorf("%d writes, want one for each node", n)
		}
		if err := p.Ready(t.Context()); err != nil {
			t.Error(err)
		}

		for range 3 {
			c.update("c", func(n *corev1.Node) {
				n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, LastHeartbeatTime: metav1.Now()}}
			})
		}
		if err := p.stop(); err != nil {
			t.Error(err)
		}
		c.start(t, "two")
		if n := c.writes(); n != 3 {
			t.Errorf("%d more writes for heartbeats and a restart, want none", n-3)
		}
	})
}

func TestStart(t *testing.T) {
	t.Parallel()
	a, b := annotationsOf("2", "10.244.0.0/24", "fd00:10:244::/64", "2"), annotationsOf("3", "10.244.1.0/24", "fd00:10:244:1::/64", "3")
	cases := []struct {
		name   string
		nodes  []*corev1.Node
		want   map[string][]string
		events []string
		writes int
	}{
		{
			name:  "what OVN-Kubernetes wrote stands, in its old forms too",
			nodes: []*corev1.Node{node("a", 1, a...), node("b", 2, append([]string{"node-subnets", `{"default": ["10.244.9.0/24", "fd00:10:244:9::/64"]}`}, annotationsOf("7", "", "", "7")[4:]...)...)},
			want: map[string][]string{"a": a, "b": {
				"node-id", "3", "node-subnets", `{"default": ["10.244.9.0/24", "fd00:10:244:9::/64"]}`,
				"node-transit-switch-port-ifaddr", b[5], "network-ids", b[7],
			}},
			writes: 1, // b had no id
		},
		{
			name: "two nodes with the same id and subnet: the older keeps them",
			nodes: []*corev1.Node{
				node("young", 5, a...), node("old", 1, a...),
			},
			want:   map[string][]string{"old": a, "young": b},
			events: []string{"young NodeIDConflict", "young SubnetConflict"},
			writes: 1,
		},
		{
			name: "malformed annotations are replaced",
			nodes: []*corev1.Node{
				node("a", 1, "node-id", "two", "node-subnets", "{", "node-transit-switch-port-ifaddr", "[]", "network-ids", "null"),
			},
			want:   map[string][]string{"a": a},
			events: []string{"a AnnotationInvalid"},
			writes: 1,
		},
		{
			name: "other networks are left alone; a transit address follows from the id",
			nodes: []*corev1.Node{
				node("a", 1, "node-id", "2", "node-subnets", `{"blue":["10.9.0.0/24"]}`, "network-ids", `{"blue":"4"}`, "node-transit-switch-port-ifaddr", `{"ipv4":"100.88.0.9/16"}`),
			},
			want: map[string][]string{"a": {
				"node-id", "2", "node-subnets", `{"blue":["10.9.0.0/24"],"default":["10.244.0.0/24","fd00:10:244::/64"]}`,
				"network-ids", `{"blue":"4","default":"0"}`, "node-transit-switch-port-ifaddr", a[5],
			}},
			writes: 1,
		},
		{
			name:   "from single stack to dual stack",
			nodes:  []*corev1.Node{node("a", 1, "node-id", "2", "node-subnets", `{"default":"10.244.0.0/24"}`)},
			want:   map[string][]string{"a": a},
			writes: 1,
		},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(dual)
				for _, n := range tc.nodes {
					c.Put(n)
				}
				p := c.start(t, "one")
				for name, want := range tc.want {
					c.expect(t, name, want...)
				}
				c.expectEvents(t, tc.events...)
				if n := c.writes(); n != tc.writes {
					t.Errorf("%d writes, want %d", n, tc.writes)
				}
				_ = p.stop()
				c.start(t, "two")
				if n := c.writes(); n != tc.writes {
					t.Errorf("%d writes by the restart", n-tc.writes)
				}
			})
		})
	}
}

func TestExhaustion(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("10.244.0.0/23/24")
		c.Put(node("a", 1), node("b", 2), node("c", 3), node("d", 4))
		p := c.start(t, "one")
		c.expectCondition(t, "b", "")
		c.expectCondition(t, "c", "False ClusterSubnetsExhausted")
		c.expectCondition(t, "d", "False ClusterSubnetsExhausted")
		c.expect(t, "d", "network-ids", `{"default":"0"}`)
		c.expectEvents(t, "c ClusterSubnetsExhausted", "d ClusterSubnetsExhausted")
		const waiting = `
# HELP ovnk_controller_nodes_waiting Nodes without all that they need, because it is exhausted.
# TYPE ovnk_controller_nodes_waiting gauge
ovnk_controller_nodes_waiting 2
# HELP ovnk_controller_node_subnets_allocated Node subnets that nodes have.
# TYPE ovnk_controller_node_subnets_allocated gauge
ovnk_controller_node_subnets_allocated{family="ipv4"} 2
# HELP ovnk_controller_node_subnets Node subnets that the cluster subnets can be cut into.
# TYPE ovnk_controller_node_subnets gauge
ovnk_controller_node_subnets{family="ipv4"} 2
`
		if err := testutil.GatherAndCompare(p.metrics, strings.NewReader(waiting),
			"ovnk_controller_nodes_waiting", "ovnk_controller_node_subnets_allocated", "ovnk_controller_node_subnets"); err != nil {
			t.Error(err)
		}

		writes := c.writes()
		for _, name := range []string{"c", "d"} {
			c.update(name, func(n *corev1.Node) { n.Labels = map[string]string{"changed": "often"} })
		}
		synctest.Wait()
		if n := c.writes(); n != writes {
			t.Errorf("%d more writes while nothing is free", n-writes)
		}

		c.Delete(node("a", 0))
		c.expectCondition(t, "c", "True Allocated")
		c.expect(t, "c", "node-id", "2", "node-subnets", `{"default":["10.244.0.0/24"]}`,
			"node-transit-switch-port-ifaddr", `{"ipv4":"100.88.0.2/16","ipv6":"fd97::2/64"}`, "network-ids", `{"default":"0"}`)
		c.expectCondition(t, "d", "False ClusterSubnetsExhausted")

		c.Put(node("a", 9)) // the same name again starts clean, behind those that wait
		c.expectCondition(t, "a", "False ClusterSubnetsExhausted")
		_ = p.stop()
		writes = c.writes()
		c.start(t, "two")
		if n := c.writes(); n != writes {
			t.Errorf("%d writes by a restart while nodes wait", n-writes)
		}
	})
}

func TestConflictWhileFull(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("10.244.0.0/23/24")
		has := []string{"node-id", "2", "node-subnets", `{"default":["10.244.0.0/24"]}`,
			"node-transit-switch-port-ifaddr", `{"ipv4":"100.88.0.2/16","ipv6":"fd97::2/64"}`, "network-ids", `{"default":"0"}`}
		c.Put(node("old", 1, has...), node("other", 2), node("young", 3, has...))
		c.start(t, "one")
		c.expect(t, "old", has...)
		c.expect(t, "young", "network-ids", `{"default":"0"}`) // what is another's is taken away
		c.expectCondition(t, "young", "False ClusterSubnetsExhausted")
	})
}

func TestClusterSubnetsChanged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("10.0.0.0/16/24")
		has := []string{"node-id", "2", "node-subnets", `{"default":["10.244.0.0/24"]}`,
			"node-transit-switch-port-ifaddr", `{"ipv4":"100.88.0.2/16","ipv6":"fd97::2/64"}`, "network-ids", `{"default":"0"}`}
		c.Put(node("a", 1, has...))
		c.start(t, "one")
		c.expect(t, "a", has...)
		c.expectCondition(t, "a", "False SubnetOutsideCluster")
		c.expectEvents(t, "a SubnetOutsideCluster")
	})
}

func TestAnnotationsChangedByHand(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(dual)
		a := annotationsOf("2", "10.244.0.0/24", "fd00:10:244::/64", "2")
		b := annotationsOf("3", "10.244.1.0/24", "fd00:10:244:1::/64", "3")
		c.Put(node("a", 1), node("b", 2))
		c.start(t, "one")
		c.expect(t, "b", b...)

		c.update("b", func(n *corev1.Node) { n.Annotations = node("b", 2, a...).Annotations })
		c.expect(t, "a", a...)
		c.expect(t, "b", b...)
		c.update("b", func(n *corev1.Node) { n.Annotations = node("b", 2).Annotations })
		c.expect(t, "b", b...)
		c.expectEvents(t, "b AnnotationRestored")
	})
}

func TestRecreatedNode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(dual)
		c.Put(node("a", 1), node("b", 2))
		c.start(t, "one")
		c.expect(t, "a", annotationsOf("2", "10.244.0.0/24", "fd00:10:244::/64", "2")...)

		c.Delete(node("a", 0))
		c.Put(node("c", 3))
		c.expect(t, "c", annotationsOf("2", "10.244.0.0/24", "fd00:10:244::/64", "2")...)
		c.Put(node("a", 4))
		c.expect(t, "a", annotationsOf("4", "10.244.2.0/24", "fd00:10:244:2::/64", "4")...)
	})
}

// A node that was deleted and created again while the watch was away is another one: what
// the first had goes to those that wait.
func TestRecreatedNodeUnseen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster("10.244.0.0/23/24")
		c.Put(node("a", 1), node("b", 2), node("waits", 3))
		c.start(t, "one")
		c.expectCondition(t, "waits", "False ClusterSubnetsExhausted")
		c.Intercept(func(r *http.Request) *metav1.Status {
			if r.Method != http.MethodGet {
				return nil
			}
			return &metav1.Status{Status: metav1.StatusFailure, Code: http.StatusServiceUnavailable, Reason: metav1.StatusReasonServiceUnavailable}
		})
		c.Disconnect(true)
		c.Delete(node("b", 0))
		c.Put(node("b", 4))
		time.Sleep(time.Second)
		synctest.Wait()
		c.Intercept(nil)
		time.Sleep(2 * time.Minute)
		c.expect(t, "waits", "node-id", "3", "node-subnets", `{"default":["10.244.1.0/24"]}`,
			"node-transit-switch-port-ifaddr", `{"ipv4":"100.88.0.3/16","ipv6":"fd97::3/64"}`, "network-ids", `{"default":"0"}`)
		c.expectCondition(t, "b", "False ClusterSubnetsExhausted")
	})
}

func TestLeadership(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(dual)
		c.Put(node("a", 1))
		one := c.start(t, "one")
		time.Sleep(time.Second)
		two := c.start(t, "two")
		if one.leads() != 1 || two.leads() != 0 {
			t.Fatalf("leaders: one %v, two %v", one.leads(), two.leads())
		}
		for name, p := range map[string]*process{"leader": one, "standby": two} {
			if err := p.Ready(t.Context()); err != nil {
				t.Errorf("%s is not ready: %v", name, err)
			}
		}
		writes := c.writes()
		if err := one.stop(); err != nil {
			t.Error(err)
		}
		// Candidates wait 1 to 2.2 retry periods (client-go jitters them); the Lease lasts longer.
		time.Sleep(time.Duration(3*c.config.Leader.RetrySeconds) * time.Second)
		synctest.Wait()
		if two.leads() != 1 {
			t.Error("the Lease was not given back")
		}
		if n := c.writes(); n != writes {
			t.Errorf("%d writes by the next leader", n-writes)
		}
		c.Put(node("b", 2))
		c.expect(t, "b", annotationsOf("3", "10.244.1.0/24", "fd00:10:244:1::/64", "3")...)
	})
}

func TestLostLeadershipEndsTheProcess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(dual)
		p := c.start(t, "one")
		c.Intercept(func(r *http.Request) *metav1.Status {
			if strings.Contains(r.URL.Path, "/leases/") {
				return &metav1.Status{Status: metav1.StatusFailure, Code: http.StatusInternalServerError, Reason: metav1.StatusReasonInternalError}
			}
			return nil
		})
		time.Sleep(time.Duration(c.config.Leader.LeaseSeconds) * time.Second)
		synctest.Wait()
		if p.leads() != 0 || p.Ready(t.Context()) == nil {
			t.Error("still leads after the Lease expired")
		}
		if err := p.stop(); !errors.Is(err, ErrLeadershipLost) {
			t.Errorf("Run returned %v", err)
		}
	})
}

func TestNotReadyWithoutAPIServer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(dual)
		down := &metav1.Status{Status: metav1.StatusFailure, Code: http.StatusServiceUnavailable, Reason: metav1.StatusReasonServiceUnavailable}
		c.Intercept(func(*http.Request) *metav1.Status { return down })
		p := c.start(t, "one")
		if err := p.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "ovn-kubernetes/ovn-kubernetes-master") {
			t.Errorf("Ready says %v", err)
		}
		c.Intercept(func(r *http.Request) *metav1.Status {
			if r.URL.Path == "/api/v1/nodes" {
				return down
			}
			return nil
		})
		time.Sleep(time.Minute)
		synctest.Wait()
		if err := p.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "has not read all nodes") {
			t.Errorf("Ready says %v", err)
		}
		c.Intercept(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		if err := p.Ready(t.Context()); err != nil {
			t.Error(err)
		}
		if err := p.stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestMetricsAreWellNamed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(dual)
		c.Put(node("a", 1, "node-id", "x"))
		p := c.start(t, "one")
		problems, err := testutil.GatherAndLint(p.metrics)
		if err != nil {
			t.Fatal(err)
		}
		for _, problem := range problems {
			t.Errorf("%s: %s", problem.Metric, problem.Text)
		}
	})
}

func TestBadConfiguration(t *testing.T) {
	t.Parallel()
	c := newCluster("10.244.0.0/16/12")
	if _, err := New(Options{Config: c.config, Client: c.Client(t)}); err == nil || !strings.Contains(err.Error(), "clusterSubnets") {
		t.Errorf("New returned %v", err)
	}
}
