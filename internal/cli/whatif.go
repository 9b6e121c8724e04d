package cli

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/runtime/node"
	"github.com/ovnkctl/ovnkctl/internal/whatif"
)

// whatIfFlags are those of commands that answer for a cluster as it would be.
type whatIfFlags struct {
	with, without []string
	input         *whatif.Input // nil when nothing would be different
}

func (f *whatIfFlags) addWhatIf(fs *pflag.FlagSet) {
	fs.StringArrayVar(&f.with, "with", nil, "answer as if this `file` (or folder, or - for standard input) was applied: policies, services and labels")
	fs.StringArrayVar(&f.without, "without", nil, "answer as if this `KIND/NAMESPACE/NAME` was not there")
}

// asked tells whether something would be different.
func (f *whatIfFlags) asked() bool { return len(f.with)+len(f.without) > 0 }

// readWhatIf reads what would be different. Names without namespace are of the given one.
func (f *whatIfFlags) readWhatIf(namespace string, stdin io.Reader) error {
	if !f.asked() {
		return nil
	}
	input, err := whatif.Read(f.with, f.without, namespace, stdin)
	if err != nil {
		return badInput{err}
	}
	f.input = input
	return nil
}

// whatIf is the cluster as it would be. The caller closes it before the snapshot.
func (f *whatIfFlags) whatIf(ctx context.Context, s *inspect.Snapshot) (*whatif.WhatIf, error) {
	w, err := whatif.New(ctx, whatif.Config{Snapshot: s, Features: node.Features, Input: f.input, Now: time.Now()})
	var bad *whatif.InputError
	if errors.As(err, &bad) {
		err = badInput{err}
	}
	return w, err
}

// what names the input: "with a.yaml without NetworkPolicy/shop/b".
func (f *whatIfFlags) what() string {
	var parts []string
	if len(f.with) > 0 {
		parts = append(parts, "with "+strings.Join(f.with, ", "))
	}
	if len(f.without) > 0 {
		parts = append(parts, "without "+strings.Join(f.without, ", "))
	}
	return strings.Join(parts, " ")
}

// badInput is a file or name that cannot be taken: a mistake of the one who asks.
type badInput struct{ error }

func (badInput) ExitCode() int   { return ExitUsage }
func (e badInput) Unwrap() error { return e.error }

// unreadOf is what could not be read of several snapshots of one cluster.
func unreadOf(snapshots ...*inspect.Snapshot) unread {
	var u unread
	for _, s := range snapshots {
		for _, p := range s.Problems() {
			if !slices.ContainsFunc(u.Unread, func(o *inspect.Problem) bool { return o.Error() == p.Error() }) {
				u.Unread = append(u.Unread, p)
			}
		}
	}
	return u
}
