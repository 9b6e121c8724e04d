//go:build ovn && linux

package ovn

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/rows"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/multicast"
	policies "github.com/ovnkctl/ovnkctl/internal/runtime/feature/policy"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
	"github.com/ovnkctl/ovnkctl/test/ovn/box"
)

// groups are one of each family: administratively scoped, and site-local (RFC 2365, 4291).
var groups = []netip.AddrPort{netip.MustParseAddrPort("239.1.2.3:5007"), netip.MustParseAddrPort("[ff15::7]:5007")}

// enough is how many packets to nobody are sent before others, that somebody hears.
const enough = 20

// TestMulticast sends to groups in two zones.
func TestMulticast(t *testing.T) {
	t.Parallel()
	l := newMulticastLab(t)
	t.Run("within namespaces", l.within)
	t.Run("questions who listens", l.questions)
	t.Run("isolated pods", l.isolated)
	t.Run("annotations come and go", l.flips)
	quietLogs(t, l.box)
}

// multicastLab has pods of three namespaces on two nodes: tv and radio may use multicast,
// quiet may not.
type multicastLab struct {
	box       *box.Box
	pods      map[string]*box.Pod // by name: namespace-node
	listeners map[string][]*box.Listener
	texts     int
}

func newMulticastLab(t *testing.T) *multicastLab {
	b := box.New(t, box.Options{Zones: 2, Family: box.Dual, Mode: world.GatewayShared, Multicast: true})
	b.Program(append(slices.Clone(features), policies.Feature{}, multicast.Feature{}, eager{})...)
	l := &multicastLab{box: b, pods: map[string]*box.Pod{}, listeners: map[string][]*box.Listener{}}
	for _, ns := range []string{"tv", "radio"} {
		l.annotate(ns, "true")
	}
	l.annotate("quiet", "")
	add := func(z *box.Zone, namespace, name string) {
		p := z.AddPodIn(namespace, name)
		l.pods[name] = p
		l.tellOthers(p)
	}
	for _, z := range b.Zones {
		for _, ns := range []string{"tv", "radio", "quiet"} {
			add(z, ns, ns+"-"+z.Name)
		}
	}
	add(b.Zones[0], "tv", "tv-studio")
	add(b.Zones[0], "quiet", "quiet-studio")
	b.Sync()
	for _, g := range groups {
		for name, p := range l.pods {
			l.listeners[name] = append(l.listeners[name], box.Join(t, p.NS, "eth0", g))
		}
		l.listeners["host"] = append(l.listeners["host"], box.Join(t, b.Zones[0].NS, "ovn-k8s-mp0", g))
		l.listeners["outside"] = append(l.listeners["outside"], box.Join(t, b.OutsideNS(), "fabric", g))
	}
	return l
}

// eager has the nodes' switches ask every second who listens to what, not every 150 s.
type eager struct{}

func (eager) Name() string { return "eager" }

func (eager) Keys(_ world.View, c world.Change) []feature.Key {
	if c.Ref.Kind != world.KindNode {
		return nil
	}
	return []feature.Key{{Name: c.Ref.Name}}
}

func (eager) Desired(v world.View, k feature.Key) (out feature.Output, _ []feature.Reason) {
	if k.Name == v.LocalNode() {
		out.NB.Put(rows.Target{Table: nb.LogicalSwitchTable, Name: k.Name}, "other_config", "mcast_query_interval", "1")
	}
	return out, nil
}

// annotate creates or changes a namespace.
func (l *multicastLab) annotate(namespace, says string) {
	n := &world.Namespace{Name: namespace}
	if says != "" {
		n.Annotations = map[string]string{world.MulticastAnnotation: says}
	}
	for _, z := range l.box.Zones {
		z.World.SetNamespace(n)
		z.Wait(multicast.Name, multicast.NamespaceKey(namespace))
	}
}

// tellOthers has the other zones know a pod.
func (l *multicastLab) tellOthers(p *box.Pod) {
	p.Zone.World.Read(func(v world.View) {
		pod, _ := v.Pod(p.Key)
		for _, z := range l.box.Zones {
			if z != p.Zone {
				z.World.SetPod(pod)
			}
		}
	})
	for _, z := range l.box.Zones {
		z.Wait(policies.Name, policies.PodKey(p.Key.Namespace, p.Key.Name))
	}
}

// check sends to both groups from one pod: those who are named hear it, and nobody else.
func (l *multicastLab) check(t *testing.T, from string, to ...string) {
	t.Helper()
	p := l.pods[from]
	for i, g := range groups {
		text := l.text()
		stop := box.Broadcast{From: p.NS, Group: g, Text: text, Least: enough}.Start(t)
		ctx, cancel := context.WithTimeout(t.Context(), box.Patience)
		for _, name := range to {
			if seen, err := l.listeners[name][i].Await(ctx, text); err != nil {
				t.Errorf("%s to %s at %s: %v", from, g, name, err)
			} else if seen != p.Addrs[i] {
				t.Errorf("%s to %s at %s: it seems to come from %s", from, g, name, seen)
			}
		}
		cancel()
		stop()
		l.pass(t, i)
		for name, listeners := range l.listeners {
			if _, heard := listeners[i].Heard(text); heard && !slices.Contains(to, name) && name != from {
				t.Errorf("%s to %s: %s hears it, too", from, g, name)
			}
		}
	}
}

func (l *multicastLab) text() string {
	l.texts++
	return fmt.Sprint("packet ", l.texts)
}

// pass waits until packets that are sent now have come everywhere: what was sent before and
// was not heard by then never will be. Pods of radio hear each other in all tests.
func (l *multicastLab) pass(t *testing.T, family int) {
	t.Helper()
	for _, way := range [][2]string{{"radio-n1", "radio-n2"}, {"radio-n2", "radio-n1"}} {
		text := l.text()
		stop := box.Broadcast{From: l.pods[way[0]].NS, Group: groups[family], Text: text}.Start(t)
		ctx, cancel := context.WithTimeout(t.Context(), box.Patience)
		if _, err := l.listeners[way[1]][family].Await(ctx, text); err != nil {
			t.Fatalf("%s to %s: %v", way[0], way[1], err)
		}
		cancel()
		stop()
	}
}

func (l *multicastLab) within(t *testing.T) {
	l.check(t, "tv-studio", "tv-n1", "tv-n2")
	l.check(t, "tv-n2", "tv-n1", "tv-studio")
	l.check(t, "radio-n1", "radio-n2")
	l.check(t, "quiet-studio")
	l.check(t, "quiet-n2")
}

// questions: switches ask who listens, in the name of their routers, and know what pods
// answer. Other zones hear of listeners in IPv4 only.
func (l *multicastLab) questions(t *testing.T) {
	z, p := l.box.Zones[0], l.pods["quiet-n1"]
	ctx, cancel := context.WithTimeout(t.Context(), box.Patience)
	defer cancel()
	router := plan.Gateway(z.Subnets[0])
	for _, want := range []netip.Addr{router, plan.LinkLocal(plan.MAC(router))} {
		if from, err := box.AwaitQuery(ctx, p.NS, want.Is4()); err != nil || from != want {
			t.Errorf("asked by %s, %v; want %s", from, err, want)
		}
	}
	here, elsewhere := z.Members(z.Name), z.Members(names.Network{}.TransitSwitch())
	for _, g := range groups {
		if a := g.Addr().String(); !slices.Contains(here, a) {
			t.Errorf("the node's switch knows members of %v, want %s, too", here, a)
		} else if slices.Contains(elsewhere, a) != g.Addr().Is4() {
			t.Errorf("the transit switch knows members of %v, which is wrong about %s", elsewhere, a)
		}
	}
	for _, a := range elsewhere {
		if strings.Contains(a, ":") {
			t.Errorf("the transit switch knows members of %s", a)
		}
	}
}

// isolated: neither a NetworkPolicy nor an EgressFirewall keeps pods from the namespace's
// multicast.
func (l *multicastLab) isolated(t *testing.T) {
	deny := `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: tv, name: deny}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
---
apiVersion: k8s.ovn.org/v1
kind: EgressFirewall
metadata: {namespace: tv, name: default}
spec: {egress: [{type: Deny, to: {cidrSelector: 0.0.0.0/0}}, {type: Deny, to: {cidrSelector: "::/0"}}]}
`
	for _, z := range l.box.Zones {
		setObjects(t, z, deny)
	}
	l.box.Sync()
	l.check(t, "tv-studio", "tv-n1", "tv-n2")
}

func (l *multicastLab) flips(t *testing.T) {
	l.annotate("tv", "false")
	l.annotate("quiet", "true")
	l.box.Sync()
	l.check(t, "tv-studio")
	l.check(t, "quiet-studio", "quiet-n1", "quiet-n2")
	l.annotate("tv", "true")
	l.annotate("quiet", "yes")
	l.box.Sync()
	l.check(t, "tv-studio", "tv-n1", "tv-n2")
	l.check(t, "quiet-studio")
}
