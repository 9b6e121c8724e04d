package engine

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
)

// metrics are the engine's own; the transactions are counted by package ovn.
type metrics struct {
	seconds  *prometheus.HistogramVec
	keys     *prometheus.CounterVec
	refused  *prometheus.CounterVec
	drifts   *prometheus.CounterVec
	problems *prometheus.GaugeVec
	queued   prometheus.Gauge
	batch    prometheus.Histogram
}

func newMetrics(r prometheus.Registerer, e *Engine) *metrics {
	m := &metrics{
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "ovnk_feature_reconcile_duration_seconds", Help: "Time from taking a batch with keys of the feature until it is committed.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14), NativeHistogramBucketFactor: 1.2,
		}, []string{"feature"}),
		keys: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ovnk_feature_reconciles_total", Help: "Keys computed and compared.",
		}, []string{"feature", "cause"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ovnk_feature_errors_total", Help: "Keys whose transaction the database refused.",
		}, []string{"feature", "reason"}),
		drifts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ovnk_feature_drifts_total", Help: "Keys whose rows somebody else had changed.",
		}, []string{"feature"}),
		problems: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "ovnk_feature_reasons", Help: "Reasons why keys are not in order now.",
		}, []string{"feature", "reason"}),
		queued: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "ovnk_engine_queue_depth", Help: "Keys to be looked at.",
		}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "ovnk_engine_batch_keys", Help: "Keys per batch.", Buckets: prometheus.ExponentialBuckets(1, 4, 7),
		}),
	}
	if r != nil {
		r.MustRegister(m.seconds, m.keys, m.refused, m.drifts, m.problems, m.queued, m.batch, rowCounter{e})
	}
	return m
}

func (m *metrics) depth(n int)          { m.queued.Set(float64(n)) }
func (m *metrics) drift(feature string) { m.drifts.WithLabelValues(feature).Inc() }

func (m *metrics) failed(feature, reason string) {
	m.refused.WithLabelValues(feature, reason).Inc()
}

func (m *metrics) reconciled(items []*item, took time.Duration) {
	m.batch.Observe(float64(len(items)))
	last := ""
	for _, it := range items {
		m.keys.WithLabelValues(it.id.feature, string(it.why)).Inc()
		if it.id.feature != last { // once per run of keys of one feature
			last = it.id.feature
			m.seconds.WithLabelValues(last).Observe(took.Seconds())
		}
	}
}

func (m *metrics) reasons(featureName string, was, now []feature.Reason) {
	for _, r := range was {
		m.problems.WithLabelValues(featureName, r.Code).Dec()
	}
	for _, r := range now {
		m.problems.WithLabelValues(featureName, r.Code).Inc()
	}
}

// rowCounter counts the rows of each feature when it is asked.
type rowCounter struct{ e *Engine }

var rowsDesc = prometheus.NewDesc("ovnk_feature_rows", "Rows in the databases that belong to keys of the feature.",
	[]string{"feature", "table"}, nil)

// Describe implements prometheus.Collector.
func (rowCounter) Describe(out chan<- *prometheus.Desc) { out <- rowsDesc }

// Collect implements prometheus.Collector.
func (c rowCounter) Collect(out chan<- prometheus.Metric) {
	type label struct{ feature, table string }
	counts := map[label]int{}
	for _, db := range c.e.dbs {
		if db == nil {
			continue
		}
		db.Read(func(v ovn.View) {
			for who := range v.Owners() {
				id, ok := c.e.parse(who)
				if !ok {
					continue
				}
				for _, r := range v.Owned(who) {
					counts[label{id.feature, r.Table.Name}]++
				}
			}
		})
	}
	for l, n := range counts {
		out <- prometheus.MustNewConstMetric(rowsDesc, prometheus.GaugeValue, float64(n), l.feature, l.table)
	}
}
