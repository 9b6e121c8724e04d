package controller

import (
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are read from the allocator when they are asked for.
type metrics struct {
	nodes    *nodes
	findings *prometheus.CounterVec
}

var (
	subnetsDesc = prometheus.NewDesc("ovnk_controller_node_subnets",
		"Node subnets that the cluster subnets can be cut into.", []string{"family"}, nil)
	subnetsAllocatedDesc = prometheus.NewDesc("ovnk_controller_node_subnets_allocated",
		"Node subnets that nodes have.", []string{"family"}, nil)
	idsDesc          = prometheus.NewDesc("ovnk_controller_node_ids", "Node ids that join and transit subnets have addresses for.", nil, nil)
	idsAllocatedDesc = prometheus.NewDesc("ovnk_controller_node_ids_allocated", "Node ids that nodes have.", nil, nil)
	nodesDesc        = prometheus.NewDesc("ovnk_controller_nodes", "Nodes of the cluster.", nil, nil)
	waitingDesc      = prometheus.NewDesc("ovnk_controller_nodes_waiting", "Nodes without all that they need, because it is exhausted.", nil, nil)
)

func newMetrics(n *nodes) *metrics {
	return &metrics{nodes: n, findings: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ovnk_controller_findings_total",
		Help: "What was found wrong with the annotations of nodes, by the reason of the event.",
	}, []string{"reason"})}
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{subnetsDesc, subnetsAllocatedDesc, idsDesc, idsAllocatedDesc, nodesDesc, waitingDesc} {
		ch <- d
	}
	m.findings.Describe(ch)
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	m.nodes.mu.Lock()
	subnets, ids, count, waiting := m.nodes.alloc.SubnetUsage(), m.nodes.alloc.IDUsage(), len(m.nodes.states), 0
	for _, s := range m.nodes.states {
		if s.waits() {
			waiting++
		}
	}
	m.nodes.mu.Unlock()
	for _, family := range slices.Sorted(maps.Keys(subnets)) {
		gauge(subnetsDesc, subnets[family].Total, family)
		gauge(subnetsAllocatedDesc, float64(subnets[family].Used), family)
	}
	gauge(idsDesc, ids.Total)
	gauge(idsAllocatedDesc, float64(ids.Used))
	gauge(nodesDesc, float64(count))
	gauge(waitingDesc, float64(waiting))
	m.findings.Collect(ch)
}
