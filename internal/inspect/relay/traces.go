package relay

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"sync"

	"github.com/ovnkctl/ovnkctl/internal/inspect/tracer"
)

// pathTraces traces many packets at once. Relays of older programs do not know it.
const pathTraces = "/traces"

// maxQuestion bounds a question, in bytes. A trace's is about 500.
const maxQuestion = 1 << 20

// question is what to trace, as tracer.Run takes it.
type question struct {
	Same  []string   `json:"same"`
	Calls [][]string `json:"calls"`
}

// traces answers with the traces. ended waits for those that run when the stream ends: their
// daemons must end, too.
func (c Config) traces(ended *sync.WaitGroup) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ended.Add(1)
		defer ended.Done()
		var q question
		if err := json.NewDecoder(io.LimitReader(r.Body, maxQuestion)).Decode(&q); err != nil {
			http.Error(w, "nothing is named that is to be traced", http.StatusBadRequest)
			return
		}
		program := "ovn-trace"
		if c.Find != nil {
			var err error
			if program, err = c.Find(program); err != nil {
				http.Error(w, err.Error(), http.StatusNotFound)
				return
			}
		}
		answers, err := tracer.Run(r.Context(), tracer.Config{Argv: []string{program}, Env: c.env(), Dir: c.OVNRunDir}, q.Same, q.Calls)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_ = json.NewEncoder(w).Encode(answers)
	}
}

// Traces traces packets, see tracer.Run. An error may be that the relay is of an older program.
func (c *Client) Traces(ctx context.Context, same []string, calls [][]string) ([]tracer.Answer, error) {
	body, err := json.Marshal(question{same, calls})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, err := c.do(ctx, http.MethodPost, pathTraces, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	var answers []tracer.Answer
	err = json.NewDecoder(r.Body).Decode(&answers)
	return answers, err
}
