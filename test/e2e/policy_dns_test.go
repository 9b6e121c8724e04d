//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
)

// The names xN.outside.test of the sandbox's DNS are addresses of the outside host, which
// these tests give it.
const (
	firstName = 2
	lastName  = 101
	// unheard are further ones, that are not looked up before the last test.
	unheard = 10
)

// byName are addresses of the outside host by number.
func byName(n int) []netip.Addr {
	return []netip.Addr{netip.AddrFrom4([4]byte{203, 0, 113, byte(n)}), netip.MustParseAddr(fmt.Sprintf("2001:db8:203::%d", n))}
}

// nameOutside gives the outside host the addresses of the names.
func (c *cluster) nameOutside(t *testing.T) {
	t.Helper()
	script := func(verb string) string {
		var b strings.Builder
		for n := firstName; n <= lastName+unheard; n++ {
			for _, a := range byName(n) {
				fmt.Fprintf(&b, "addr %s %s dev lo\n", verb, netip.PrefixFrom(a, a.BitLen()))
			}
		}
		return fmt.Sprintf("printf '%s' | ip -batch -", strings.ReplaceAll(b.String(), "\n", `\n`))
	}
	t.Cleanup(func() {
		if _, err := c.trySandbox(context.WithoutCancel(t.Context()), "outside", "exec", "--", "sh", "-c", script("del")); err != nil {
			t.Error(err)
		}
	})
	c.sandbox(t, "outside", "exec", "--", "sh", "-c", script("add"))
}

// get is a command of the shell that looks a name up and connects to what it is: the first
// packet has to come through, as TCP repeats it after a second only. Curl names the failure:
// 6 for the lookup, 7 and 28 for the connection.
func get(name string) string {
	return fmt.Sprintf("curl -sS -o /dev/null --connect-timeout 5 -w '%%{time_namelookup} %%{time_connect} %%{remote_ip}\\n' http://%s:8080/clientip", name)
}

// TestEgressFirewallNames: what a name is allowed to be is what the pod has just been told,
// be it new each time, an alias, or another address than before.
func TestEgressFirewallNames(t *testing.T) {
	c := open(t)
	c.nameOutside(t)
	ns, nodes := c.namespace(t), c.nodes(t)
	var pods []*corev1.Pod
	for _, n := range nodes { // near the DNS pod, and not
		pods = append(pods, podOn(ns, "client-"+n, n, "pause"))
	}
	pods = c.start(t, pods...)
	changing := fmt.Sprintf("changing.%s.svc.cluster.local", ns)
	rules := []any{rule("Allow", "dnsName", "*.outside.test"), rule("Allow", "dnsName", changing)}
	for _, own := range addresses(t, pods[0]) {
		all := "::/0"
		if own.Is4() {
			all = "0.0.0.0/0"
		}
		rules = append(rules, rule("Deny", "cidrSelector", all))
	}
	c.firewall(t, ns, rules)
	for _, p := range pods {
		target := outsideAddress(addresses(t, p)[0])
		until(t, "the firewall is in force for "+p.Name, func(ctx context.Context) error {
			if _, err := c.exec(ctx, p, "", nil, "/agnhost", "connect", "--timeout=1s", netip.AddrPortFrom(target, 8080).String()); err == nil {
				return fmt.Errorf("%s is open", target)
			}
			return nil
		})
	}
	t.Run("first connection", func(t *testing.T) { c.firstConnections(t, pods) })
	t.Run("alias", func(t *testing.T) {
		for i, p := range pods {
			c.wantFirst(t, p, fmt.Sprintf("alias%d.outside.test", lastName-i))
		}
	})
	t.Run("changing name", func(t *testing.T) { c.changingName(t, pods, changing) })
	t.Run("other names stay shut", func(t *testing.T) {
		for _, own := range addresses(t, pods[0]) {
			at := netip.AddrPortFrom(outsideAddress(own), 8080)
			if _, err := c.exec(t.Context(), pods[0], "", nil, "/agnhost", "connect", "--timeout=1s", at.String()); err == nil {
				t.Errorf("%s, which no name of the firewall is, is open", at)
			}
		}
		if err := c.clusterName(t.Context(), pods[0]); err != nil {
			t.Errorf("names of the cluster: %v", err)
		}
	})
	t.Run("killed program", func(t *testing.T) { c.namesOutlive(t, pods[1], nodes[1]) })
}

func rule(action, field, value string) map[string]any {
	return map[string]any{"type": action, "to": map[string]any{field: value}}
}

// firewall makes the EgressFirewall of a namespace.
func (c *cluster) firewall(t *testing.T, ns string, rules []any) {
	t.Helper()
	client, err := dynamic.NewForConfig(c.rest)
	if err != nil {
		t.Fatal(err)
	}
	o := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "k8s.ovn.org/v1", "kind": "EgressFirewall", "metadata": map[string]any{"name": "default", "namespace": ns},
		"spec": map[string]any{"egress": rules},
	}}
	firewalls := client.Resource(schema.GroupVersionResource{Group: "k8s.ovn.org", Version: "v1", Resource: "egressfirewalls"}).Namespace(ns)
	if _, err := firewalls.Create(t.Context(), o, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// firstConnections look a hundred names up that nobody has asked for on the node before.
func (c *cluster) firstConnections(t *testing.T, pods []*corev1.Pod) {
	for _, p := range pods {
		var script strings.Builder
		for n := firstName; n <= lastName; n++ {
			// Every second one with the search list of the pod's resolv.conf.
			name := fmt.Sprintf("x%d.outside.test", n)
			if n%2 == 0 {
				name += "."
			}
			fmt.Fprintf(&script, "%s || echo failed %s\n", get(name), name)
		}
		out, err := c.exec(t.Context(), p, "", nil, "sh", "-c", script.String())
		if err != nil {
			t.Fatal(err)
		}
		checkFirst(t, p.Name, out, lastName-firstName+1)
	}
}

// checkFirst reads what get printed: no connection needed a second SYN.
func checkFirst(t *testing.T, pod, out string, want int) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != want {
		t.Errorf("pod %s printed %d lines, want %d", pod, len(lines), want)
	}
	slowest := 0.0
	for _, line := range lines {
		var lookup, connect float64
		var ip string
		if _, err := fmt.Sscanf(line, "%f %f %s", &lookup, &connect, &ip); err != nil {
			t.Errorf("pod %s: %s", pod, line)
			continue
		}
		if connect-lookup >= 1 {
			t.Errorf("pod %s: the first packet to %s was lost: connected after %.3f s", pod, ip, connect-lookup)
		}
		slowest = max(slowest, lookup)
	}
	t.Logf("pod %s: %d lookups, slowest %.3f s", pod, len(lines), slowest)
}

func (c *cluster) wantFirst(t *testing.T, p *corev1.Pod, name string) {
	t.Helper()
	out, err := c.exec(t.Context(), p, "", nil, "sh", "-c", get(name))
	if err != nil {
		t.Fatal(err)
	}
	checkFirst(t, p.Name, out, 1)
}

// changingName is a name of the cluster's DNS for another, which is made to change.
func (c *cluster) changingName(t *testing.T, pods []*corev1.Pod, name string) {
	ns := pods[0].Namespace
	to := func(n int) string { return fmt.Sprintf("x%d.outside.test", n) }
	if _, err := c.CoreV1().Services(ns).Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "changing"},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: to(firstName)},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for n := firstName; n < firstName+2; n++ {
		patch := fmt.Sprintf(`{"spec":{"externalName":%q}}`, to(n))
		if _, err := c.CoreV1().Services(ns).Patch(t.Context(), "changing", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		for _, p := range pods {
			// The DNS pod answers from its cache for a while: until then the name is what it
			// was, and works, too.
			until(t, fmt.Sprintf("%s is %s", name, to(n)), func(ctx context.Context) error {
				out, err := c.exec(ctx, p, "", nil, "sh", "-c", get(name+"."))
				if err != nil {
					if ctx.Err() == nil && !strings.Contains(err.Error(), "Could not resolve") {
						t.Errorf("pod %s: %v", p.Name, err)
					}
					return err
				}
				checkFirst(t, p.Name, out, 1)
				for _, a := range byName(n) {
					if strings.HasSuffix(strings.TrimSpace(out), " "+a.String()) {
						return nil
					}
				}
				return fmt.Errorf("it is %s", out)
			})
		}
	}
}

// clusterName asks for a name of the cluster and connects.
func (c *cluster) clusterName(ctx context.Context, p *corev1.Pod) error {
	_, err := c.exec(ctx, p, "", nil, "/agnhost", "connect", "--timeout=4s", "kube-dns.kube-system.svc.cluster.local:53")
	return err
}

// namesOutlive kills the node's program: what names are stays open, pods can ask again as
// soon as the kernel or the next program notices, and that one learns again.
func (c *cluster) namesOutlive(t *testing.T, pod *corev1.Pod, node string) {
	known := netip.AddrPortFrom(byName(lastName)[0], 8080)
	if !addresses(t, pod)[0].Is4() {
		known = netip.AddrPortFrom(byName(lastName)[1], 8080)
	}
	c.wantFirst(t, pod, fmt.Sprintf("x%d.outside.test.", lastName))
	p := processes[0]
	before := c.restarts(t, p, node)
	for _, pid := range strings.Fields(c.onNode(t, node, "pgrep", "-f", p.pattern)) {
		c.onNode(t, node, "kill", "-9", pid)
	}
	killed := time.Now()
	until(t, "names again", func(ctx context.Context) error {
		if _, err := c.exec(ctx, pod, "", nil, "/agnhost", "connect", "--timeout=1s", known.String()); err != nil && ctx.Err() == nil {
			t.Errorf("%s was open and is not after %s: %v", known, time.Since(killed), err)
		}
		return c.clusterName(ctx, pod)
	})
	t.Logf("the pod could ask again after %.1f s", time.Since(killed).Seconds())
	until(t, "restarted", func(ctx context.Context) error {
		if _, err := c.exec(ctx, pod, "", nil, "/agnhost", "connect", "--timeout=1s", known.String()); err != nil && ctx.Err() == nil {
			t.Errorf("%s was open and is not after %s: %v", known, time.Since(killed), err)
		}
		if c.restarts(t, p, node) == before {
			return errors.New("not yet")
		}
		return nil
	})
	c.systemReady(t, node)
	until(t, "the next program is asked", func(ctx context.Context) error {
		_, err := c.exec(ctx, pod, "", nil, "sh", "-c", get(fmt.Sprintf("x%d.outside.test.", lastName+1)))
		return err
	})
	for n := lastName + 2; n <= lastName+unheard; n++ {
		c.wantFirst(t, pod, fmt.Sprintf("x%d.outside.test.", n))
	}
}
