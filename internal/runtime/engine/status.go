package engine

import (
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
)

// Status is what an operator asks of an engine.
type Status struct {
	// Synced is true once the start is over.
	Synced bool `json:"synced"`
	// Offline names the databases that are not connected.
	Offline []string `json:"offline,omitempty"`
	// Keys is the number of keys known, Queued of those to be looked at now.
	Keys   int `json:"keys"`
	Queued int `json:"queued"`
	// Problems are the keys that are not in order.
	Problems []Problem `json:"problems,omitempty"`
}

// Problem is one key that is not in order.
type Problem struct {
	Feature string           `json:"feature"`
	Key     string           `json:"key"`
	Reasons []feature.Reason `json:"reasons"`
	// RetryAt is when it is tried again by itself; zero when it waits for a change.
	RetryAt time.Time `json:"retryAt,omitzero"`
}

// Status tells how things are.
func (e *Engine) Status() Status {
	var st Status
	select {
	case <-e.synced:
		st.Synced = true
	default:
	}
	for _, db := range e.dbs {
		if db != nil && !db.Online() {
			st.Offline = append(st.Offline, db.Database().Name)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	st.Keys, st.Queued = len(e.queue.keys), e.queue.depth()
	for _, s := range e.queue.keys {
		if len(s.reasons) == 0 {
			continue
		}
		p := Problem{Feature: s.id.feature, Key: s.id.key.String(), Reasons: s.reasons}
		if s.heapAt >= 0 {
			p.RetryAt = s.retryAt
		}
		st.Problems = append(st.Problems, p)
	}
	slices.SortFunc(st.Problems, func(a, b Problem) int {
		return strings.Compare(a.Feature+"/"+a.Key, b.Feature+"/"+b.Key)
	})
	return st
}

// Reasons tells why a key is not in order; nothing when it is.
func (e *Engine) Reasons(featureName string, key feature.Key) []feature.Reason {
	e.mu.Lock()
	defer e.mu.Unlock()
	if s := e.queue.keys[keyID{featureName, key}]; s != nil {
		return s.reasons
	}
	return nil
}

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

func newMetrics(r prometheus.Registerer) *metrics {
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
		}, []string{"feature"}),
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
		r.MustRegister(m.seconds, m.keys, m.refused, m.drifts, m.problems, m.queued, m.batch)
	}
	return m
}

func (m *metrics) depth(n int)           { m.queued.Set(float64(n)) }
func (m *metrics) failed(feature string) { m.refused.WithLabelValues(feature).Inc() }
func (m *metrics) drift(feature string)  { m.drifts.WithLabelValues(feature).Inc() }

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
