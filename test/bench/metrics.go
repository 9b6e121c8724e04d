//go:build linux

package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// nodeEndpoint is where the node's program serves metrics and health.
const nodeEndpoint = "http://127.0.0.1:9410"

// metrics are the samples of one scrape: "name{labels}" to value.
type metrics map[string]float64

func scrape() (metrics, error) {
	r, err := http.Get(nodeEndpoint + "/metrics")
	if err != nil {
		return nil, fmt.Errorf("metrics of the node: %w", err)
	}
	defer r.Body.Close() //nolint:errcheck // everything was read
	m := metrics{}
	lines := bufio.NewScanner(r.Body)
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), " ")
		if v, err := strconv.ParseFloat(value, 64); ok && err == nil {
			m[name] = v
		}
	}
	return m, lines.Err()
}

// transactions are the committed transactions of one database.
func (m metrics) transactions(db string) float64 {
	return m[`ovnk_ovsdb_txn_duration_seconds_count{db="`+db+`"}`]
}

// cniStages are the stages of an ADD in their order.
var cniStages = []string{"turn", "address", "veth", "interface", "nb", "port", "flows"}

func stageMetric(stage, what string) string {
	return `ovnk_pod_stage_duration_seconds_` + what + `{stage="` + stage + `"}`
}

// stagesSince tells what one ADD between two scrapes took by stage.
func (m metrics) stagesSince(before metrics) map[string]time.Duration {
	out := map[string]time.Duration{}
	for _, s := range cniStages {
		n := m[stageMetric(s, "count")] - before[stageMetric(s, "count")]
		if n > 0 {
			out[s] = time.Duration((m[stageMetric(s, "sum")] - before[stageMetric(s, "sum")]) / n * float64(time.Second))
		}
	}
	return out
}

// nodeReady tells whether the node's program is ready and its zone is among what it looked
// at: before its parts are there, it has less to look at.
func nodeReady() bool {
	client := http.Client{Timeout: time.Second}
	r, err := client.Get(nodeEndpoint + "/readyz?verbose")
	if err != nil {
		return false
	}
	defer r.Body.Close() //nolint:errcheck // everything was read
	text, err := io.ReadAll(r.Body)
	return err == nil && r.StatusCode == http.StatusOK && strings.Contains(string(text), "[+]zone ok")
}
