//go:build linux

package server

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are the server's metrics; nil counts nothing.
type Metrics struct {
	requests *prometheus.HistogramVec
	stages   *prometheus.HistogramVec
}

// NewMetrics makes the metrics and registers them.
func NewMetrics(r prometheus.Registerer) (*Metrics, error) {
	buckets := prometheus.ExponentialBuckets(0.001, 2, 18) // 1 ms to 131 s
	m := &Metrics{
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "ovnk_cni_request_duration_seconds",
			Help:    "Duration of CNI requests in the node process by command and result (ok or error).",
			Buckets: buckets,
		}, []string{"command", "result"}),
		stages: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "ovnk_pod_stage_duration_seconds",
			Help:    "Duration of the stages of CNI ADD; interface, nb, port and flows overlap.",
			Buckets: buckets,
		}, []string{"stage"}),
	}
	for _, c := range []prometheus.Collector{m.requests, m.stages} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("CNI metrics: %w", err)
		}
	}
	return m, nil
}

func (m *Metrics) request(command string, ok bool, d time.Duration) {
	if m == nil {
		return
	}
	result := "ok"
	if !ok {
		result = "error"
	}
	m.requests.WithLabelValues(command, result).Observe(d.Seconds())
}

func (m *Metrics) stage(name stage, d time.Duration) {
	if m != nil {
		m.stages.WithLabelValues(string(name)).Observe(d.Seconds())
	}
}
