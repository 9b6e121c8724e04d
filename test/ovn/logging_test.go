//go:build ovn && linux

package ovn

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/featuretest"
	policies "github.com/ovnkctl/ovnkctl/internal/runtime/feature/policy"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/test/ovn/box"
)

// logged are policies of every kind whose annotations, or whose namespaces', have all they do
// logged, and pods in namespaces of their own. In stateless connections are not followed.
const logged = `
apiVersion: v1
kind: Namespace
metadata: {name: server, labels: {kubernetes.io/metadata.name: server}, annotations: {k8s.ovn.org/acl-logging: '{"deny":"alert","allow":"info"}'}}
---
apiVersion: v1
kind: Namespace
metadata: {name: client, labels: {kubernetes.io/metadata.name: client}}
---
apiVersion: v1
kind: Namespace
metadata: {name: stranger, labels: {kubernetes.io/metadata.name: stranger}, annotations: {k8s.ovn.org/acl-logging: '{"deny":"notice"}'}}
---
apiVersion: v1
kind: Namespace
metadata: {name: guarded, labels: {kubernetes.io/metadata.name: guarded}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: server, name: p}
spec:
  podSelector: {}
  policyTypes: [Ingress, Egress]
  ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: client}}}]}]
---
apiVersion: policy.networking.k8s.io/v1alpha1
kind: AdminNetworkPolicy
metadata: {name: admin, annotations: {k8s.ovn.org/acl-logging: '{"deny":"warning","pass":"debug","allow":"notice"}'}}
spec:
  priority: 10
  subject: {namespaces: {matchLabels: {kubernetes.io/metadata.name: guarded}}}
  ingress:
  - {action: Deny, from: [{namespaces: {matchLabels: {kubernetes.io/metadata.name: stranger}}}]}
  - {action: Pass, from: [{namespaces: {matchLabels: {kubernetes.io/metadata.name: client}}}]}
  egress:
  - {action: Allow, to: [{namespaces: {matchLabels: {kubernetes.io/metadata.name: client}}}]}
---
apiVersion: policy.networking.k8s.io/v1alpha1
kind: BaselineAdminNetworkPolicy
metadata: {name: default, annotations: {k8s.ovn.org/acl-logging: '{"deny":"notice"}'}}
spec:
  subject: {namespaces: {matchLabels: {kubernetes.io/metadata.name: client}}}
  ingress:
  - {action: Deny, from: [{namespaces: {matchLabels: {kubernetes.io/metadata.name: stranger}}}]}
---
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: cluster, annotations: {k8s.ovn.org/acl-logging: '{"deny":"debug"}'}}
spec:
  tier: Admin
  priority: 5
  subject: {namespaces: {matchLabels: {kubernetes.io/metadata.name: client}}}
  egress:
  - {action: Deny, to: [{namespaces: {matchLabels: {kubernetes.io/metadata.name: stranger}}}]}
---
apiVersion: k8s.ovn.org/v1
kind: EgressFirewall
metadata: {namespace: stranger, name: default}
spec: {egress: [{type: Deny, to: {cidrSelector: 0.0.0.0/0}}]}
`

// logRate is how many packets an ACL logs per second.
const logRate = 10

// loggingLab is one node with a pod in each of the namespaces, called like it.
type loggingLab struct {
	zone *box.Zone
	pods map[string]*box.Pod
}

// TestPolicyLogging: ovn-controller logs what policies decide, with their names, and not too
// much of it.
func TestPolicyLogging(t *testing.T) {
	t.Parallel()
	b := box.New(t, box.Options{Zones: 1, Family: box.Dual, Mode: world.GatewayShared})
	b.Program(append(slices.Clone(features), policies.Feature{LogsPerSecond: logRate})...)
	l := &loggingLab{zone: b.Zones[0], pods: map[string]*box.Pod{}}
	setObjects(t, l.zone, logged)
	for _, name := range []string{"server", "client", "stranger", "guarded"} {
		p := l.zone.AddPodIn(name, name)
		l.zone.Wait(policies.Name, policies.PodKey(name, name))
		l.pods[name] = p
		box.Serve(t, p.NS, port)
	}
	box.Serve(t, b.OutsideNS(), port)
	l.zone.Sync()
	for _, c := range []struct {
		from, to string
		passes   bool
		name     string // of the ACL, and what else the line says
	}{
		{"client", "server", true, `name="NP:server:p:Ingress:0", verdict=allow, severity=info, direction=to-lport: tcp`},
		{"stranger", "server", false, `name="NP:server:Ingress", verdict=drop, severity=alert, direction=to-lport: tcp`},
		{"server", "client", false, `name="NP:server:Egress", verdict=drop, severity=alert, direction=from-lport: tcp`},
		{"stranger", "guarded", false, `name="ANP:admin:Ingress:0", verdict=drop, severity=warning, direction=to-lport: tcp`},
		{"client", "guarded", true, `name="ANP:admin:Ingress:1", verdict=pass, severity=debug, direction=to-lport: tcp`},
		{"guarded", "client", true, `name="ANP:admin:Egress:0", verdict=allow, severity=notice, direction=from-lport: tcp`},
		{"stranger", "client", false, `name="BANP:default:Ingress:0", verdict=drop, severity=notice, direction=to-lport: tcp`},
		{"client", "stranger", false, `name="CNP:cluster:Egress:0", verdict=drop, severity=debug, direction=from-lport: tcp`},
		{"stranger", "outside", false, `name="EF:stranger:0", verdict=drop, severity=notice, direction=to-lport: tcp`},
	} {
		t.Run(c.from+" to "+c.to, func(t *testing.T) {
			l.exchange(t, c.from, c.to, c.passes)
			if err := l.zone.AwaitLog(t.Context(), "ovn-controller", c.name); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("rate", l.rate)
	for line := range strings.Lines(l.zone.Log("ovn-controller")) {
		if strings.Contains(line, "acl_log") && strings.Contains(line, ": arp") {
			t.Errorf("ARP is logged: %s", line)
		}
	}
	quietLogs(t, b)
}

// setObjects creates the objects of a YAML document in a zone.
func setObjects(t *testing.T, z *box.Zone, text string) {
	t.Helper()
	objects, err := featuretest.Objects([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		o.Set(z.World)
		if o.Policy != nil {
			for _, p := range o.Policy.Problems {
				t.Errorf("%s: %s", o.Policy.Name, p.Message)
			}
			z.Wait(policies.Name, policies.KeyOf(o.Policy.Key()))
		}
	}
}

func (l *loggingLab) exchange(t *testing.T, from, to string, passes bool) {
	t.Helper()
	r := box.Request{From: l.pods[from].NS, Network: "tcp", To: netip.AddrPortFrom(box.Outside[0], port)}
	if p := l.pods[to]; p != nil {
		r.To = netip.AddrPortFrom(p.Addrs[0], port)
	}
	if passes {
		r.Check(t, l.pods[from].Addrs[0])
	} else {
		r.CheckSilence(t)
	}
}

// rate: many packets are logged at the rate that is set, and do not silence another ACL.
func (l *loggingLab) rate(t *testing.T) {
	const packets, few = 20 * logRate, 5
	const flood, other = `name="NP:server:Ingress", verdict=drop, severity=alert, direction=to-lport: udp`, `name="ANP:admin:Ingress:0", verdict=drop, severity=warning, direction=to-lport: udp`
	from, start := l.pods["stranger"].NS, time.Now()
	for _, f := range []struct {
		to string
		n  int
	}{{"server", packets}, {"guarded", few}} {
		if err := box.Flood(t.Context(), from, netip.AddrPortFrom(l.pods[f.to].Addrs[0], port), f.n); err != nil {
			t.Fatal(err)
		}
	}
	for _, text := range []string{flood, other} {
		if err := l.zone.AwaitLog(t.Context(), "ovn-controller", text); err != nil {
			t.Error(err)
		}
	}
	// What comes through last is the proof that all before has come through.
	l.exchange(t, "client", "server", true)
	log, took := l.zone.Log("ovn-controller"), time.Since(start)
	// A bucket is full at first: one second's worth.
	most := int(took.Seconds()+1)*logRate + logRate
	if n := strings.Count(log, flood); n > most {
		t.Errorf("%d of %d packets in %s are logged, want at most %d", n, packets, took, most)
	} else {
		t.Logf("%d of %d packets in %s are logged, of %d others %d", n, packets, took, few, strings.Count(log, other))
	}
}

// stateless is a policy in whose two directions connections are not followed.
const stateless = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: server, name: p, annotations: {k8s.ovn.org/acl-stateless: "true"}}
spec:
  podSelector: {}
  policyTypes: [Ingress, Egress]
  ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: client}}}]}]
  egress: [{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: client}}}]}]
`

// TestStatelessPolicy: both directions of a connection pass by their own rules, and nobody
// remembers it at the server.
func TestStatelessPolicy(t *testing.T) {
	t.Parallel()
	b := box.New(t, box.Options{Zones: 1, Family: box.Dual, Mode: world.GatewayShared})
	b.Program(append(slices.Clone(features), policies.Feature{})...)
	l := &loggingLab{zone: b.Zones[0], pods: map[string]*box.Pod{}}
	namespace := "apiVersion: v1\nkind: Namespace\nmetadata: {name: %[1]s, labels: {kubernetes.io/metadata.name: %[1]s}}\n"
	for _, name := range []string{"server", "client", "stranger"} {
		setObjects(t, l.zone, fmt.Sprintf(namespace, name))
	}
	for _, name := range []string{"server", "client", "stranger"} {
		p := l.zone.AddPodIn(name, name)
		l.pods[name] = p
		box.Serve(t, p.NS, port)
	}
	for _, c := range []struct {
		policy   string
		followed bool
	}{{strings.Replace(stateless, `"true"`, `"false"`, 1), true}, {stateless, false}} {
		setObjects(t, l.zone, c.policy)
		for name := range l.pods {
			l.zone.Wait(policies.Name, policies.PodKey(name, name))
		}
		l.zone.Sync()
		for i, a := range l.pods["server"].Addrs {
			l.zone.FlushConntrack()
			everything(t, l.pods["client"].NS, a, l.pods["client"].Addrs[i])
			expectNothing(t, l.pods["stranger"].NS, netip.AddrPortFrom(a, port))
			if n := l.zone.Tracked(l.pods["server"]); n > 0 != c.followed {
				t.Errorf("%s: %d connections of the server are followed, want some: %v", a, n, c.followed)
			}
		}
	}
	quietLogs(t, b)
}
