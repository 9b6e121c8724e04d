package query

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
)

// Result is the answer to one operation, numbers as json.Number.
type Result struct {
	Rows    []map[string]any `json:"rows"`
	Count   int              `json:"count"`
	Error   string           `json:"error"`
	Details string           `json:"details"`
}

// Transact has a server do operations as one transaction: of RFC 7047, each a value that
// marshals to one. When ctx ends the stream is closed; else it can be used again.
func Transact(ctx context.Context, conn io.ReadWriteCloser, d *ovn.Database, ops ...any) ([]Result, error) {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	var results []*Result
	s := &session{decoder: json.NewDecoder(conn), encoder: json.NewEncoder(conn)}
	err := s.call("transact", append([]any{d.Name}, ops...), &results)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	out := make([]Result, len(ops))
	for i, r := range results {
		if r == nil {
			continue // after an operation that failed
		}
		if r.Error != "" { // that of the whole is behind those of the operations
			return nil, fmt.Errorf("%s refuses operation %d of %d: %s: %s", d.Name, i+1, len(ops), r.Error, r.Details)
		}
		if i < len(out) {
			out[i] = *r
		}
	}
	if len(results) < len(ops) {
		return nil, fmt.Errorf("%s answered %d of %d operations", d.Name, len(results), len(ops))
	}
	return out, nil
}
