//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ovnkctl/ovnkctl/internal/annotation"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
)

const (
	// crowdLabel marks the many services.
	crowdLabel = "ovnkctl-bench/crowd"
	// crowdEndpoints is how many end points each has.
	crowdEndpoints = 3
	// crowdWriters is how many requests are made at the same time.
	crowdWriters = 16
	// nodePortSteps is how often services with a node port are added, a twentieth of the
	// others each time: the API server has 2,768 ports to give by default.
	nodePortSteps = 4
)

// runServices does all phases with services. The kubelet is stopped meanwhile.
func (b *bench) runServices(ctx context.Context) error {
	e, err := b.newEndpoints(ctx)
	if err == nil {
		err = b.servicePhases(ctx, e)
	}
	return errors.Join(err, e.end())
}

func (b *bench) servicePhases(ctx context.Context, e *endpoints) error {
	nodes, err := b.rig.api.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	s := &Services{Nodes: len(nodes.Items)}
	b.out.Services = []*Services{s}
	change, err := e.measure(ctx, b.rounds/2, 1)
	if err != nil {
		return err
	}
	s.Changes = append(s.Changes, change)
	if b.services == 0 {
		return nil
	}
	s.Crowd = &Crowd{Services: b.services, Endpoints: crowdEndpoints}
	c := &crowd{bench: b, e: e, out: s.Crowd}
	if err := c.create(ctx); err != nil {
		return err
	}
	if change, err = e.measure(ctx, b.rounds/4, b.services); err != nil {
		return err
	}
	s.Changes = append(s.Changes, change)
	if s.Crowd.Restart, err = b.restart(ctx); err != nil {
		return err
	}
	s.Crowd.Restart.Services = b.services
	if s.Crowd.AfterStart, err = networkProcesses(); err != nil {
		return err
	}
	if err := c.openPorts(ctx); err != nil {
		return err
	}
	return c.drop(ctx)
}

// crowd is many services.
type crowd struct {
	*bench
	e   *endpoints
	out *Crowd
	// others is how many load balancers there were before.
	others int
}

func (c *crowd) labels() map[string]string { return map[string]string{crowdLabel: "yes"} }

// create makes the services and waits until the node has all of them.
func (c *crowd) create(ctx context.Context) (err error) {
	c.log.Info("many services", "services", c.services)
	if c.out.Idle, err = networkProcesses(); err != nil {
		return err
	}
	if c.out.Before, err = c.sizes(ctx); err != nil {
		return err
	}
	addrs, err := c.rig.podAddrs(ctx)
	if err != nil {
		return err
	}
	c.others = c.e.rows.count()
	before, err := scrape()
	if err != nil {
		return err
	}
	cpu, start := cpuOf(c.out.Idle), time.Now()
	err = workers(c.services, func(i int) error {
		name := fmt.Sprint("crowd-", i)
		if _, err := c.rig.service(ctx, name, c.labels()); err != nil {
			return err
		}
		return c.rig.slice(ctx, name, c.labels(), someOf(addrs, i)...)
	})
	if err != nil {
		return err
	}
	c.out.Created = millis(time.Since(start))
	if err := c.await(ctx, c.others+c.services); err != nil {
		return err
	}
	c.out.Rows = millis(time.Since(start))
	if err := c.floor.settle(); err != nil {
		return err
	}
	c.out.Installed = millis(time.Since(start))
	c.out.CPU = map[string]float64{}
	for name, d := range cpuOf(c.out.Idle) {
		c.out.CPU[name] = millis(d - cpu[name])
	}
	after, err := scrape()
	if err != nil {
		return err
	}
	c.out.Transacted = after.transactions("nb") - before.transactions("nb")
	if c.out.Full, err = networkProcesses(); err != nil {
		return err
	}
	c.out.With, err = c.sizes(ctx)
	return err
}

// await waits until the Northbound database has that many load balancers.
func (c *crowd) await(ctx context.Context, rows int) error {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
		if c.e.rows.count() == rows {
			return nil
		}
	}
	return errors.Join(fmt.Errorf("the Northbound database has %d load balancers and not %d", c.e.rows.count(), rows), ctx.Err())
}

// openPorts makes services with node ports one after another, a step at a time.
func (c *crowd) openPorts(ctx context.Context) error {
	addrs, err := c.rig.podAddrs(ctx)
	if err != nil {
		return err
	}
	step := c.services / 20
	for before := 0; before < nodePortSteps*step; before += step {
		c.log.Info("node ports", "services", before)
		list, err := networkProcesses()
		if err != nil {
			return err
		}
		cpu, start := cpuOf(list), time.Now()
		used, err := usageOf(c.agent)
		if err != nil {
			return err
		}
		for i := range step {
			name := fmt.Sprint("port-", before+i)
			if _, err := c.rig.nodePort(ctx, name, c.labels()); err != nil {
				return err
			}
			if err := c.rig.slice(ctx, name, c.labels(), someOf(addrs, i)...); err != nil {
				return err
			}
		}
		n := NodePorts{Before: before, Added: step, Each: millis(time.Since(start)) / float64(step), CPU: map[string]float64{}}
		if n.Served, err = c.oneMore(ctx, fmt.Sprint("last-", before)); err != nil {
			return err
		}
		for name, d := range cpuOf(list) {
			n.CPU[name] = millis(d-cpu[name]) / float64(step)
		}
		now, err := usageOf(c.agent)
		if err != nil {
			return err
		}
		n.Children = millis(now.childCPU-used.childCPU) / float64(step)
		c.out.NodePorts = append(c.out.NodePorts, n)
	}
	return c.floor.settle()
}

// oneMore makes one more service with a node port and tells when the host reaches its
// backend there.
func (c *crowd) oneMore(ctx context.Context, name string) (float64, error) {
	backend := c.e.backends[0]
	start := time.Now()
	if err := c.rig.slice(ctx, name, c.labels(), backend.backend().Addr()); err != nil {
		return 0, err
	}
	port, err := c.rig.nodePort(ctx, name, c.labels())
	if err != nil {
		return 0, err
	}
	at, err := c.rig.nodeAddr(ctx, backend.backend().Addr())
	if err != nil {
		return 0, err
	}
	_, done := client{name: "host"}.follow(ctx, netip.AddrPortFrom(at, port), backend.name, true)
	a := <-done
	return millis(a.first.Sub(start)), a.err
}

// drop deletes the services and waits until the node has none of them.
func (c *crowd) drop(ctx context.Context) error {
	c.log.Info("deletion")
	start := time.Now()
	if err := c.rig.dropServices(ctx, crowdLabel); err != nil {
		return err
	}
	c.out.DeleteCalls = millis(time.Since(start))
	if err := c.await(ctx, c.others); err != nil {
		return err
	}
	if err := c.floor.settle(); err != nil {
		return err
	}
	c.out.Deleted = millis(time.Since(start))
	return nil
}

// sizes counts what there is.
func (c *crowd) sizes(ctx context.Context) (s Sizes, err error) {
	m, err := scrape()
	if err != nil {
		return s, err
	}
	for name, n := range m {
		if strings.HasPrefix(name, "ovnk_feature_rows{") {
			s.NB += int(n)
		}
	}
	sb, err := dialDB("OVN_Southbound", sbSocket)
	if err != nil {
		return s, err
	}
	defer sb.close()
	out, err := sb.transact(dict{"op": "select", "table": "Logical_Flow", "where": list{}, "columns": list{"_uuid"}})
	if err != nil {
		return s, err
	}
	s.SB = len(out[0].Rows)
	if s.Flows, err = flowCount(ctx, "br-int"); err != nil {
		return s, err
	}
	s.Bridge, err = flowCount(ctx, "br-ex")
	return s, err
}

var flowCountField = regexp.MustCompile(`flow_count=(\d+)`)

func flowCount(ctx context.Context, bridge string) (int, error) {
	out, err := outputIn(ctx, "ovs-vswitchd", "/usr/bin/ovs-ofctl", "dump-aggregate", bridge)
	if err != nil {
		return 0, err
	}
	found := flowCountField.FindSubmatch(out)
	if found == nil {
		return 0, fmt.Errorf("bridge %s tells no number of flows: %s", bridge, out)
	}
	return strconv.Atoi(string(found[1]))
}

// workers calls f for 0 to n-1, some at the same time, until one fails.
func workers(n int, f func(int) error) error {
	var next atomic.Int64
	return parallel(crowdWriters, func(int) error {
		for {
			i := int(next.Add(1)) - 1
			if i >= n {
				return nil
			}
			if err := f(i); err != nil {
				next.Store(int64(n))
				return err
			}
		}
	})
}

// someOf are the end points of the i-th service.
func someOf(addrs []netip.Addr, i int) []netip.Addr {
	out := make([]netip.Addr, crowdEndpoints)
	for j := range out {
		out[j] = addrs[(i+j)%len(addrs)]
	}
	return out
}

// podAddrs are addresses of pods that need not exist, on all nodes in turn.
func (r *rig) podAddrs(ctx context.Context) ([]netip.Addr, error) {
	nodes, err := r.api.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	const perNode, from = 100, 100
	var out []netip.Addr
	for i := range perNode {
		for _, n := range nodes.Items {
			subnets, ok, err := annotation.NodeSubnets.Get(n.Annotations)
			if err != nil {
				return nil, err
			}
			if !ok {
				return nil, fmt.Errorf("node %s has no pod subnets", n.Name)
			}
			a, ok := plan.Nth(subnets[annotation.DefaultNetwork][0], uint64(from+i))
			if !ok {
				return nil, fmt.Errorf("the pod subnet of node %s is too small", n.Name)
			}
			out = append(out, a)
		}
	}
	return out, nil
}

// nodeAddr is the node's address of the same family as another address.
func (r *rig) nodeAddr(ctx context.Context, like netip.Addr) (netip.Addr, error) {
	n, err := r.api.CoreV1().Nodes().Get(ctx, r.node, metav1.GetOptions{})
	if err != nil {
		return netip.Addr{}, err
	}
	for _, text := range n.Status.Addresses {
		if a, err := netip.ParseAddr(text.Address); err == nil && a.Is4() == like.Is4() {
			return a, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("node %s has no address of the family of %s", r.node, like)
}
