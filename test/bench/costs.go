//go:build linux

package main

import "time"

// snapshot is what the network has used up to now.
type snapshot struct {
	metrics metrics
	cpu     map[string]time.Duration
}

func (b *bench) snapshot() (snapshot, error) {
	m, err := scrape()
	if err != nil {
		return snapshot{}, err
	}
	return snapshot{metrics: m, cpu: cpuOf(b.out.Idle)}, nil
}

// costsMeter sums what pods cost that came and went.
type costsMeter struct {
	sum Costs
	cpu map[string]time.Duration
}

// note adds what was used between the snapshots before the pods, with the pods, and after.
func (c *costsMeter) note(before, with, after snapshot) {
	delta := func(a, b snapshot, db string) float64 { return b.metrics.transactions(db) - a.metrics.transactions(db) }
	c.sum.NBPerAdd += delta(before, with, "nb")
	c.sum.SBPerAdd += delta(before, with, "sb")
	c.sum.OVSPerAdd += delta(before, with, "ovs")
	c.sum.NBPerDel += delta(with, after, "nb")
	c.sum.OVSPerDel += delta(with, after, "ovs")
	if c.cpu == nil {
		c.cpu = map[string]time.Duration{}
	}
	for name := range with.cpu {
		c.cpu[name] += with.cpu[name] - before.cpu[name]
	}
}

func (c *costsMeter) perPod(n int) Costs {
	out := c.sum
	for _, v := range []*float64{&out.NBPerAdd, &out.SBPerAdd, &out.OVSPerAdd, &out.NBPerDel, &out.OVSPerDel} {
		*v /= float64(n)
	}
	out.CPUPerPod = map[string]float64{}
	for name, d := range c.cpu {
		out.CPUPerPod[name] = millis(d) / float64(n)
	}
	return out
}
