package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/config"
)

// waitStep is how often a socket that does not answer yet is tried.
const waitStep = 100 * time.Millisecond

// waitNotice is how often waiting is logged.
const waitNotice = 5 * time.Second

// await waits until a database answers on a socket.
func await(ctx context.Context, socket string, atMost time.Duration, log *slog.Logger) error {
	start := time.Now()
	parent := ctx
	ctx, cancel := context.WithTimeout(parent, atMost)
	defer cancel()
	ticker := time.NewTicker(waitStep)
	defer ticker.Stop()
	notice := start.Add(waitNotice)
	for {
		_, err := call(ctx, socket, "list_dbs")
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			if parent.Err() != nil {
				return parent.Err()
			}
			return hint(fmt.Errorf("waited %s for a database: %w", time.Since(start).Round(time.Second), err),
				"look at the log of the container that serves it")
		case now := <-ticker.C:
			if now.After(notice) {
				log.Info("waiting for a database", "socket", socket, "for", now.Sub(start).Round(time.Second).String(), "because", err.Error())
				notice = now.Add(waitNotice)
			}
		}
	}
}

// settings are the keys of Open_vSwitch's other_config that vswitchd reads only when it
// starts; an empty value removes the key.
func settings(c *config.Config) map[string]string {
	s := map[string]string{"userspace-tso-enable": ""}
	if c.Datapath == config.DatapathNetdev {
		// Veth pairs hand over packets with unfinished checksums; without TSO support the
		// userspace datapath forwards them as they are, and TCP of unmodified pods dies.
		s["userspace-tso-enable"] = "true"
	}
	if n := c.OVN.HandlerThreads; n > 0 {
		s["n-handler-threads"] = strconv.Itoa(n)
	}
	if n := c.OVN.RevalidatorThreads; n > 0 {
		s["n-revalidator-threads"] = strconv.Itoa(n)
	}
	return s
}

// switchRow is what is read of the one row of Open_vSwitch.
type switchRow struct {
	OtherConfig ovsMap `json:"other_config"`
}

// ovsMap is a map in OVSDB's JSON: ["map", [[key, value], …]].
type ovsMap map[string]string

// UnmarshalJSON implements json.Unmarshaler.
func (m *ovsMap) UnmarshalJSON(data []byte) error {
	var kind string
	var pairs [][2]string
	if err := json.Unmarshal(data, &[]any{&kind, &pairs}); err != nil {
		return err
	}
	*m = ovsMap{}
	for _, p := range pairs {
		(*m)[p[0]] = p[1]
	}
	return nil
}

// MarshalJSON implements json.Marshaler.
func (m ovsMap) MarshalJSON() ([]byte, error) {
	pairs := [][2]string{}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		pairs = append(pairs, [2]string{k, m[k]})
	}
	return json.Marshal([]any{"map", pairs})
}

// applySettings writes the settings unless they are there already, and reports whether
// it wrote. vswitchd must not run yet.
func applySettings(ctx context.Context, socket string, want map[string]string) (bool, error) {
	results, err := transact(ctx, socket, map[string]any{
		"op": "select", "table": "Open_vSwitch", "where": []any{}, "columns": []string{"other_config"},
	})
	if err != nil {
		return false, err
	}
	var rows []switchRow
	if err := json.Unmarshal(results[0].Rows, &rows); err != nil {
		return false, fmt.Errorf("row Open_vSwitch: %w", err)
	}
	if len(rows) == 0 {
		return true, insertSwitch(ctx, socket, want)
	}
	insert, remove := mutations(rows[0].OtherConfig, want)
	if len(insert) == 0 && len(remove) == 0 {
		return false, nil
	}
	_, err = transact(ctx, socket,
		map[string]any{"op": "mutate", "table": "Open_vSwitch", "where": []any{}, "mutations": []any{
			[]any{"other_config", "delete", []any{"set", remove}},
			[]any{"other_config", "insert", insert},
		}}, settingsComment)
	return true, err
}

// mutations are what makes want of have; keys that want does not name stay.
func mutations(have ovsMap, want map[string]string) (insert ovsMap, remove []string) {
	insert, remove = ovsMap{}, []string{}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		value, there := have[key]
		if there && value != want[key] {
			remove = append(remove, key) // an insert does not replace
		}
		if want[key] != "" && value != want[key] {
			insert[key] = want[key]
		}
	}
	return insert, remove
}

var settingsComment = map[string]any{"op": "comment", "comment": "ovnkctl run ovs: settings that vswitchd reads at start"}

// insertSwitch makes the one row; the schema refuses a second.
func insertSwitch(ctx context.Context, socket string, want map[string]string) error {
	row := ovsMap{}
	for k, v := range want {
		if v != "" {
			row[k] = v
		}
	}
	_, err := transact(ctx, socket, map[string]any{
		"op": "insert", "table": "Open_vSwitch", "row": map[string]any{"other_config": row},
	}, settingsComment)
	return err
}

// result is the result of one operation.
type result struct {
	Rows    json.RawMessage `json:"rows"`
	Error   string          `json:"error"`
	Details string          `json:"details"`
}

func transact(ctx context.Context, socket string, operations ...any) ([]result, error) {
	answer, err := call(ctx, socket, "transact", append([]any{"Open_vSwitch"}, operations...)...)
	if err != nil {
		return nil, err
	}
	var results []result
	if err := json.Unmarshal(answer, &results); err != nil {
		return nil, fmt.Errorf("transact: %w", err)
	}
	for _, r := range results {
		if r.Error != "" {
			return nil, fmt.Errorf("transact: %s: %s", r.Error, r.Details)
		}
	}
	if len(results) < len(operations) {
		return nil, fmt.Errorf("transact: %d results for %d operations", len(results), len(operations))
	}
	return results, nil
}
