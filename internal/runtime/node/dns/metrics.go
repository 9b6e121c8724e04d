package dns

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics count what happens; without a registerer nobody reads them.
type metrics struct {
	queries *prometheus.CounterVec
	held    prometheus.Histogram
	late    prometheus.Counter
	failed  prometheus.Counter
}

// What becomes of a query.
const (
	outcomeAnswered = "answered"
	outcomeFailed   = "failed"  // no server answered
	outcomeDropped  = "dropped" // too many at once
)

func newMetrics(r prometheus.Registerer, b *book) (*metrics, error) {
	m := &metrics{
		queries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ovnk_dns_queries_total", Help: "DNS queries of pods by protocol and outcome: answered, failed (no server answered) or dropped (too many at once).",
		}, []string{"protocol", "outcome"}),
		held: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "ovnk_dns_hold_duration_seconds", Help: "How long answers with new addresses for policies were held until the addresses were in force.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 12), // 1 ms to 2 s
		}),
		late: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ovnk_dns_hold_timeouts_total", Help: "Answers sent before their addresses were in force, because that took too long.",
		}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ovnk_dns_refresh_failures_total", Help: "Names in policies that no server answered for when the node asked by itself.",
		}),
	}
	if r == nil {
		return m, nil
	}
	gauge := func(name, help string, value func() int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(value()) })
	}
	for _, c := range []prometheus.Collector{
		m.queries, m.held, m.late, m.failed,
		gauge("ovnk_dns_names", "Names whose addresses are known for policies.", func() int { n, _ := b.size(); return n }),
		gauge("ovnk_dns_addresses", "Addresses of these names.", func() int { _, n := b.size(); return n }),
	} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("DNS metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) query(protocol, outcome string) { m.queries.WithLabelValues(protocol, outcome).Inc() }

func (m *metrics) hold(d time.Duration, inForce bool) {
	m.held.Observe(d.Seconds())
	if !inForce {
		m.late.Inc()
	}
}
