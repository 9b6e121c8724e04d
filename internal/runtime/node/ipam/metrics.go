package ipam

import "github.com/prometheus/client_golang/prometheus"

var (
	usedDesc = prometheus.NewDesc("ovnk_node_pod_addresses_used",
		"Addresses of the node's pod subnets that pods hold.", []string{"subnet"}, nil)
	capacityDesc = prometheus.NewDesc("ovnk_node_pod_addresses_capacity",
		"Addresses of the node's pod subnets that pods can hold.", []string{"subnet"}, nil)
	waitingDesc = prometheus.NewDesc("ovnk_node_pods_without_address",
		"Pods of the node that have no address; events on them say why.", nil, nil)
)

// Describe implements prometheus.Collector.
func (a *Agent) Describe(out chan<- *prometheus.Desc) {
	out <- usedDesc
	out <- capacityDesc
	out <- waitingDesc
}

// Collect implements prometheus.Collector.
func (a *Agent) Collect(out chan<- prometheus.Metric) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for subnet, u := range a.pool.Usage() {
		out <- prometheus.MustNewConstMetric(usedDesc, prometheus.GaugeValue, float64(u[0]), subnet.String())
		out <- prometheus.MustNewConstMetric(capacityDesc, prometheus.GaugeValue, float64(u[1]), subnet.String())
	}
	out <- prometheus.MustNewConstMetric(waitingDesc, prometheus.GaugeValue, float64(len(a.waiting)))
}
