package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/config"
)

// Probe tells why a daemon is not well, nil if it is. Alive means that it answers at
// all: only that is a reason to restart it. Ready means that it does its work, which
// also depends on others.
func (d Daemon) Probe(ctx context.Context, c *config.Config, liveness bool) error {
	if d.database != nil {
		return d.probeDatabase(ctx, c)
	}
	if _, err := d.Control(ctx, c, "version"); err != nil || liveness {
		return err
	}
	for _, q := range d.ready {
		if err := d.ask(ctx, c, q); err != nil {
			return err
		}
	}
	return nil
}

// probeDatabase asks the socket that clients use, not the control socket.
func (d Daemon) probeDatabase(ctx context.Context, c *config.Config) error {
	answer, err := call(ctx, d.socket(c), "list_dbs")
	if err != nil {
		return err
	}
	var served []string
	if err := json.Unmarshal(answer, &served); err != nil {
		return fmt.Errorf("%s: list_dbs: %w", d.socket(c), err)
	}
	if !slices.Contains(served, d.database.schema) {
		return fmt.Errorf("%s serves %s, not %s", d.socket(c), strings.Join(served, ", "), d.database.schema)
	}
	return nil
}

func (d Daemon) ask(ctx context.Context, c *config.Config, q query) error {
	answer, err := d.Control(ctx, c, q.command[0], q.command[1:]...)
	if err != nil {
		var refused *RemoteError
		if errors.As(err, &refused) && q.notZero {
			return nil // older than the question: that it answers must do
		}
		return err
	}
	first, _, _ := strings.Cut(answer, "\n")
	if q.want != "" && first != q.want {
		return fmt.Errorf("%s is not ready: %s says %q, not %q", d.program, strings.Join(q.command, " "), first, q.want)
	}
	if n, err := strconv.ParseInt(first, 10, 64); q.notZero && err == nil && n == 0 {
		return fmt.Errorf("%s is not ready: it has not configured its bridges yet", d.program)
	}
	return nil
}

// Stop asks a daemon to exit and to leave the data path as it is. As the first process
// of a pid namespace a daemon of OVS cannot end by the default action of SIGTERM and
// crashes instead; this way it exits with code 0.
func (d Daemon) Stop(ctx context.Context, c *config.Config) error {
	_, err := d.Control(ctx, c, d.exit[0], d.exit[1:]...)
	return err
}
