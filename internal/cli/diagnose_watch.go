package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/pflag"

	"github.com/ovnkctl/ovnkctl/internal/diagnose"
	"github.com/ovnkctl/ovnkctl/internal/output"
)

// diagnoseInterval is the pause of `diagnose --watch`: a look reads the databases of all
// nodes, and a fault that somebody waits for to go is there for longer than this.
const diagnoseInterval = 10 * time.Second

func (f *diagnoseFlags) addWatch(fs *pflag.FlagSet) {
	fs.BoolVarP(&f.watch, "watch", "w", false, "look again and again, and print what is new and what is gone; Ctrl-C ends it")
	fs.DurationVar(&f.interval, "interval", diagnoseInterval, "`pause` between two looks of --watch")
}

// checkWatch says what makes no sense together.
func (f *diagnoseFlags) checkWatch(flags *pflag.FlagSet, pod bool) error {
	switch {
	case !f.watch && flags.Changed("interval"):
		return errors.New("--interval is about --watch")
	case !f.watch:
		return nil
	case f.interval <= 0:
		return fmt.Errorf("--interval=%s: it must be longer than nothing", f.interval)
	case len(f.from) > 0:
		return errors.New("--watch is about a cluster, and a record of one (--from) does not change")
	case f.list:
		return errors.New("--list looks at nothing, so there is nothing to --watch")
	case pod:
		return errors.New("--watch is about checks: leave the pod out, or give the area 'pod' alone")
	case slices.Contains(diagnose.Forms(), f.output.Output):
		return fmt.Errorf("--output=%s is one document, and --watch prints one after the other: use json", f.output.Output)
	}
	return nil
}

// watchFindings prints changes until Ctrl-C. The exit code is that of what was known last.
func (f *diagnoseFlags) watchFindings(ctx context.Context, o diagnose.Options) error {
	last, err := diagnose.Watch(ctx, o, diagnose.Watching{
		Every: f.interval,
		Tell: func(c *diagnose.Change) error {
			if f.output.Output == "yaml" {
				if _, err := io.WriteString(f.streams.Out, "---\n"); err != nil {
					return err
				}
			}
			return output.Print(f.streams, c, &f.output)
		},
	})
	if err != nil {
		return err
	}
	code := ExitInterrupted
	if last != nil {
		code = last.ExitCode()
	}
	if code == ExitOK {
		return nil
	}
	return output.ExitError{Code: code}
}
