//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/google/go-cmp/cmp"
)

// inventory is everything that exists for pods on one node, by name.
type inventory struct {
	LogicalPorts []string // rows in NB, "<namespace>_<pod>"
	Interfaces   []string // iface-ids in Open vSwitch
	Addresses    []string // addresses of the logical ports
	Veths        int      // host ends of pod links
	QoS          int      // rows of rate limits
}

// wanted is what the pods of a node should have.
func (c *cluster) wanted(ctx context.Context, node string) (inventory, error) {
	list, err := c.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + node})
	if err != nil {
		return inventory{}, err
	}
	var inv inventory
	for _, p := range list.Items {
		if p.Spec.HostNetwork || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
			continue
		}
		id := p.Namespace + "_" + p.Name
		inv.LogicalPorts = append(inv.LogicalPorts, id)
		inv.Interfaces = append(inv.Interfaces, id)
		for _, ip := range p.Status.PodIPs {
			inv.Addresses = append(inv.Addresses, ip.IP)
		}
		inv.Veths++
	}
	slices.Sort(inv.LogicalPorts)
	slices.Sort(inv.Interfaces)
	slices.Sort(inv.Addresses)
	return inv, nil
}

// found counts what the databases and the kernel of a node hold for pods.
func (c *cluster) found(ctx context.Context, node string) (inventory, error) {
	var inv inventory
	nb, err := c.systemPod(ctx, "ovnkube-node", node)
	if err != nil {
		return inv, err
	}
	out, err := c.exec(ctx, nb, "nb-ovsdb", nil, "ovn-nbctl", "--no-leader-only", "--format=json", "--columns=name,addresses", "find", "Logical_Switch_Port", "external_ids:pod=true")
	if err != nil {
		return inv, err
	}
	var table struct{ Data [][]json.RawMessage }
	if err := json.Unmarshal([]byte(out), &table); err != nil {
		return inv, fmt.Errorf("ovn-nbctl: %w: %s", err, out)
	}
	for _, row := range table.Data {
		var name string
		if err := json.Unmarshal(row[0], &name); err != nil {
			return inv, err
		}
		inv.LogicalPorts = append(inv.LogicalPorts, name)
		for _, field := range strings.Fields(strings.Trim(string(row[1]), `"`)) {
			if strings.Count(field, ":") != 5 || strings.Contains(field, "::") { // not the MAC
				inv.Addresses = append(inv.Addresses, field)
			}
		}
	}
	ovs, err := c.systemPod(ctx, "ovs-node", node)
	if err != nil {
		return inv, err
	}
	out, err = c.exec(ctx, ovs, "ovs-daemons", nil, "ovs-vsctl", "--format=json", "--columns=external_ids", "list", "Interface")
	if err != nil {
		return inv, err
	}
	for _, part := range strings.Split(out, "[[") {
		if strings.Contains(part, `"sandbox"`) {
			_, rest, _ := strings.Cut(part, `"iface-id","`)
			id, _, _ := strings.Cut(rest, `"`)
			inv.Interfaces = append(inv.Interfaces, id)
		}
	}
	out, err = c.exec(ctx, ovs, "ovs-daemons", nil, "ovs-vsctl", "--bare", "--columns=_uuid", "list", "QoS")
	if err != nil {
		return inv, err
	}
	inv.QoS = len(strings.Fields(out))
	links, err := c.trySandbox(ctx, "exec", node, "--", "ip", "-o", "link", "show", "type", "veth")
	if err != nil {
		return inv, err
	}
	for line := range strings.Lines(links) {
		if !strings.Contains(line, " eth0") {
			inv.Veths++
		}
	}
	slices.Sort(inv.LogicalPorts)
	slices.Sort(inv.Interfaces)
	slices.Sort(inv.Addresses)
	return inv, nil
}

// noLeaks waits until every node holds exactly what its pods need, no more and no less.
func (c *cluster) noLeaks(t *testing.T) {
	t.Helper()
	for _, node := range c.nodes(t) {
		until(t, "nothing leaked on "+node, func(ctx context.Context) error {
			want, err := c.wanted(ctx, node)
			if err != nil {
				return err
			}
			got, err := c.found(ctx, node)
			if err != nil {
				return err
			}
			if diff := cmp.Diff(want, got); diff != "" {
				return fmt.Errorf("(-wanted +found)\n%s", diff)
			}
			return nil
		})
	}
}

func TestNothingLeaks(t *testing.T) { open(t).noLeaks(t) }

// TestBurstsLeakNothing creates and deletes 300 pods in three bursts and counts.
func TestBurstsLeakNothing(t *testing.T) {
	c := open(t)
	nodes := c.nodes(t)
	used := map[string]string{}
	for burst := range 3 {
		ns := c.namespace(t)
		var pods []*corev1.Pod
		for i := range 100 {
			pods = append(pods, podOn(ns, fmt.Sprintf("p%d", i), nodes[i%len(nodes)], "pause"))
		}
		addrs := map[string]string{}
		for _, p := range c.start(t, pods...) {
			for _, a := range addresses(t, p) {
				if other, taken := addrs[a.String()]; taken {
					t.Errorf("burst %d: %s and %s both have %s", burst, other, p.Name, a)
				}
				addrs[a.String()] = p.Name
			}
		}
		maps.Copy(used, addrs)
		c.noLeaks(t)
		if err := c.CoreV1().Pods(ns).DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
			t.Fatal(err)
		}
		c.noLeaks(t)
	}
}
