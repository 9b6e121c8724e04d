package diagnose

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ovnkctl/ovnkctl/internal/config"
	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/ovn/vswitch"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/hostports"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/pods"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/policy"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/services"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/topology"
)

func init() {
	faults = append(faults,
		faulty{code: "OVNK-DRIFT-002", name: "settings", state: func(t *testing.T, c *Cluster) {
			delete(one(c.Nodes[0].OVS, func(*vswitch.OpenvSwitch) bool { return true }).ExternalIDs, "ovn-monitor-all")
		}},
		faulty{code: "OVNK-DRIFT-002", name: "neighbour", state: func(_ *testing.T, c *Cluster) {
			c.Nodes[0].Texts[inspect.TextNeighbours] = testNeighbours("n9")
		}},
		faulty{code: "OVNK-DRIFT-003", state: func(_ *testing.T, c *Cluster) {
			c.Nodes[0].Texts[inspect.TextFlows+"br-int"] = " cookie=0xdead, duration=60.1s, table=8, n_packets=0, n_bytes=0, priority=1,ip actions=drop\n"
		}},
	)
}

// recorded is the cluster of the bundle that the repository has, healthy, with all flows.
func recorded(t *testing.T) *Cluster {
	t.Helper()
	s, err := inspect.Open(inspect.OpenConfig{Paths: []string{filepath.Join("..", "..", "test", "bundle", "shop.tar.gz")}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	c, err := Read(t.Context(), s, ReadOptions{Now: time.Now(), Flows: true, Features: func(*config.Config) []feature.Feature {
		return []feature.Feature{topology.Feature{}, policy.Feature{}, pods.Feature{}, services.Feature{}, hostports.Feature{}}
	}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Each change of what a real node printed is told, with whom it concerns, and nothing else.
func TestHostDriftOfARecordedNode(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		text, old, by string
		want          []string
	}{
		"nothing": {text: inspect.TextFlows + "br-ex"},
		"flow of a service gone": {
			text: inspect.TextFlows + "br-ex", old: "priority=110,tcp,in_port=1", by: "priority=110,tcp,in_port=7",
			want: []string{
				"flow of br-ex is missing: table=0,priority=110,dl_dst=02:1e:fa:00:00:02,in_port=1,nw_dst=172.30.250.12,tcp,tp_dst=30080 actions=output:2 (of shop/web)",
				"flow of br-ex is left over: table=0,priority=110,dl_dst=02:1e:fa:00:00:02,in_port=7,nw_dst=172.30.250.12,tcp,tp_dst=30080",
			},
		},
		"flow taken by somebody": {
			text: inspect.TextFlows + "br-ex", old: "cookie=0xdeff105, duration=", by: "cookie=0x1, duration=",
			want: []string{
				"flow of br-ex is missing: table=0,priority=110,arp,arp_tpa=172.30.250.12,in_port=LOCAL actions=output:1",
				"flow of br-ex in the place of ours: table=0,priority=110,arp,arp_tpa=172.30.250.12,in_port=LOCAL actions=output:1",
			},
		},
		"address gone": {
			text: inspect.TextLinks, old: `"local":"169.254.0.2"`, by: `"local":"169.254.0.9"`,
			want: []string{"address is missing: 169.254.0.2/17 dev br-ex"},
		},
		"route elsewhere": {
			text: inspect.TextRoutes6, old: `"gateway":"fd69::4"`, by: `"gateway":"fd69::5"`,
			want: []string{
				"route is missing: fd00:10:96::/112 via fd69::4 dev br-ex src fd69::2",
				"route is left over: fd00:10:96::/112 via fd69::5 dev br-ex src fd69::2",
			},
		},
		"element of nftables": {
			text: inspect.TextNFTJSON, old: `30080`, by: `30081`,
			want: []string{
				`nftables need: delete element inet ovn-kubernetes nodeports-v4 { tcp . 30081 }`,
				`nftables need: add element inet ovn-kubernetes nodeports-v4 { tcp . 30080 : WEB . 80 }`,
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := recorded(t)
			n := c.Nodes[1]
			if test.old != "" && !strings.Contains(n.Texts[test.text], test.old) {
				t.Fatalf("%s of %s has no %q", test.text, n.Name, test.old)
			}
			n.Texts[test.text] = strings.Replace(n.Texts[test.text], test.old, test.by, 1)
			var got []string
			for _, line := range c.hostDrifts(n) {
				got = append(got, strings.ReplaceAll(line, clusterIP(c, "shop", "web"), "WEB"))
			}
			if d := cmp.Diff(test.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func clusterIP(c *Cluster, namespace, name string) string {
	for i := range c.Objects.Services {
		if s := &c.Objects.Services[i]; s.Namespace == namespace && s.Name == name {
			return s.Spec.ClusterIP
		}
	}
	return ""
}

// Flows of br-int that were made by hand, and such as somebody deleted.
func TestFlowsOfARecordedNode(t *testing.T) {
	t.Parallel()
	c := recorded(t)
	n := c.Nodes[0]
	if lines := c.flowsOfNobody(n); len(lines) > 0 {
		t.Errorf("healthy, and yet %q", lines)
	}
	const text = inspect.TextFlows + "br-int"
	dump := n.Texts[text]
	n.Texts[text] = dump +
		" cookie=0x0, duration=60.1s, table=8, n_packets=7, n_bytes=490, idle_age=3, priority=65000,ip,nw_dst=10.244.0.5 actions=drop\n" +
		" cookie=0xdead, duration=60.1s, table=0, n_packets=0, n_bytes=0, priority=1 actions=drop\n" +
		" cookie=0xbeef, duration=0.5s, table=9, n_packets=0, n_bytes=0, priority=1 actions=drop\n" // its row may come
	want := []string{
		"flow that no row has: cookie=0x0, table=8, priority=65000,ip,nw_dst=10.244.0.5 actions=drop",
		"flow that no row has: cookie=0xdead, table=0, priority=1 actions=drop",
	}
	if d := cmp.Diff(want, c.flowsOfNobody(n)); d != "" {
		t.Error(d)
	}
	var rest []string
	for line := range strings.Lines(dump) {
		if !strings.Contains(line, "table=9,") {
			rest = append(rest, line)
		}
	}
	n.Texts[text] = strings.Join(rest, "")
	lines := c.flowsOfNobody(n)
	if len(lines) == 0 || !strings.Contains(lines[0], "has no flow") {
		t.Errorf("a table without flows: %q", lines)
	}
	n.Texts[text] = strings.SplitAfter(dump, "\n")[0]
	c.Now = c.Now.Add(time.Minute) // all pods have been there for some time
	if lines := strings.Join(c.flowsOfNobody(n), "\n"); !strings.Contains(lines, "port shop_") || !strings.Contains(lines, "has no flows") {
		t.Errorf("without flows: %q", lines)
	}
}
