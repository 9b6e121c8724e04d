package ovn

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts what the connections to databases do. One Metrics serves all DBs of a
// program; nil counts nothing.
type Metrics struct {
	seconds    *prometheus.HistogramVec
	ops        *prometheus.HistogramVec
	errors     *prometheus.CounterVec
	connected  *prometheus.GaugeVec
	reconnects *prometheus.CounterVec
}

// NewMetrics registers the metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "ovnk_ovsdb_txn_duration_seconds", Help: "Time from sending a transaction until it is committed and in the cache.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14), NativeHistogramBucketFactor: 1.2,
		}, []string{"db"}),
		ops: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "ovnk_ovsdb_txn_ops", Help: "Operations per transaction.",
			Buckets: prometheus.ExponentialBuckets(1, 4, 8),
		}, []string{"db"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ovnk_ovsdb_txn_errors_total", Help: "Transactions that were refused or lost.",
		}, []string{"db"}),
		connected: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "ovnk_ovsdb_connected", Help: "1 while the database is connected.",
		}, []string{"db"}),
		reconnects: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ovnk_ovsdb_connects_total", Help: "Connections made; more than one means that one was lost.",
		}, []string{"db"}),
	}
	r.MustRegister(m.seconds, m.ops, m.errors, m.connected, m.reconnects)
	return m
}

func (m *Metrics) transaction(db string, ops int, took time.Duration, err error) {
	if m == nil {
		return
	}
	m.ops.WithLabelValues(db).Observe(float64(ops))
	if err != nil {
		m.errors.WithLabelValues(db).Inc()
		return
	}
	m.seconds.WithLabelValues(db).Observe(took.Seconds())
}

func (m *Metrics) connection(db string, up bool) {
	if m == nil {
		return
	}
	if !up {
		m.connected.WithLabelValues(db).Set(0)
		return
	}
	m.connected.WithLabelValues(db).Set(1)
	m.reconnects.WithLabelValues(db).Inc()
}
