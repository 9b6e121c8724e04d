package nft

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// Exec runs the nft program.
type Exec struct{ Path string }

// missing is what nft says of a table that is not there.
const missing = "No such file or directory"

// List reads a table; it is nil when there is none.
func (e Exec) List(ctx context.Context, family, name string) (*Table, error) {
	return e.list(ctx, family, name)
}

// Digest is that of the table as List would read it, without reading the elements of sets
// and maps; it is empty when there is no such table.
func (e Exec) Digest(ctx context.Context, family, name string) (string, error) {
	t, err := e.list(ctx, family, name, "--terse")
	if t == nil {
		return "", err
	}
	return t.Digest, err
}

func (e Exec) list(ctx context.Context, family, name string, options ...string) (*Table, error) {
	var out, stderr bytes.Buffer
	args := append(options, "--stateless", "--numeric", "--json", "list", "table", family, name)
	cmd := exec.CommandContext(ctx, e.Path, args...)
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && strings.Contains(stderr.String(), missing) {
		return nil, nil
	}
	if err != nil {
		return nil, failed("list table "+family+" "+name, err, stderr.String())
	}
	return parse(out.Bytes())
}

// Apply makes all the changes in one transaction, or none.
func (e Exec) Apply(ctx context.Context, ops []Op) error {
	if len(ops) == 0 {
		return nil
	}
	var script, stderr bytes.Buffer
	for _, o := range ops {
		script.WriteString(o.String() + "\n")
	}
	cmd := exec.CommandContext(ctx, e.Path, "-f", "-")
	cmd.Stdin, cmd.Stderr = &script, &stderr
	if err := cmd.Run(); err != nil {
		return failed("changing table "+ops[0].Family+" "+ops[0].Table, err, stderr.String())
	}
	return nil
}

// longest is how much of nft's complaints an error repeats, in bytes: they can come by the
// thousand, and the first ones tell.
const longest = 2000

func failed(what string, err error, stderr string) error {
	if text := strings.TrimSpace(stderr); text != "" {
		if len(text) > longest {
			text = strings.ToValidUTF8(text[:longest], "") + "…"
		}
		return fmt.Errorf("nft: %s: %s: %w", what, text, err)
	}
	return fmt.Errorf("nft: %s: %w", what, err)
}
