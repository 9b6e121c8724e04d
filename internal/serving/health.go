package serving

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// Check tells why something is not well; nil if it is. It must not block for longer than
// the context allows.
type Check func(context.Context) error

// Checks are named checks that one path answers for. The zero value has none and is well.
type Checks struct {
	mu    sync.RWMutex
	named []namedCheck
}

type namedCheck struct {
	name  string
	check Check
}

// Add adds a check; one of the same name is replaced.
func (c *Checks) Add(name string, check Check) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.named {
		if c.named[i].name == name {
			c.named[i].check = check
			return
		}
	}
	c.named = append(c.named, namedCheck{name, check})
}

// ServeHTTP answers in the words of Kubernetes' own health endpoints: "ok", and with
// ?verbose, or when one fails, a line per check. ?exclude=NAME leaves a check out.
func (c *Checks) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.RLock()
	named := slices.Clone(c.named)
	c.mu.RUnlock()
	query := r.URL.Query()
	endpoint := strings.TrimPrefix(r.URL.Path, "/")
	var lines strings.Builder
	failed := false
	for _, n := range named {
		if slices.Contains(query["exclude"], n.name) {
			fmt.Fprintf(&lines, "[+]%s excluded: ok\n", n.name)
			continue
		}
		if err := n.check(r.Context()); err != nil {
			failed = true
			fmt.Fprintf(&lines, "[-]%s failed: %s\n", n.name, strings.ReplaceAll(err.Error(), "\n", "; "))
			continue
		}
		fmt.Fprintf(&lines, "[+]%s ok\n", n.name)
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	switch _, verbose := query["verbose"]; {
	case failed:
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintf(w, "%s%s check failed\n", lines.String(), endpoint)
	case verbose:
		fmt.Fprintf(w, "%s%s check passed\n", lines.String(), endpoint)
	default:
		fmt.Fprint(w, "ok")
	}
}
