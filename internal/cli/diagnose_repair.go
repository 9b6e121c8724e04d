package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/pflag"

	"github.com/ovnkctl/ovnkctl/internal/diagnose"
	"github.com/ovnkctl/ovnkctl/internal/output"
)

func (f *diagnoseFlags) addRepair(fs *pflag.FlagSet) {
	fs.BoolVar(&f.repair, "repair", false, "have the programs of the nodes look again at what has drifted, and put it right")
	fs.BoolVarP(&f.yes, "yes", "y", false, "do not ask before --repair")
}

// checkRepair says what makes no sense together.
func (f *diagnoseFlags) checkRepair(pod bool) error {
	switch {
	case !f.repair && f.yes:
		return errors.New("--yes is about --repair")
	case !f.repair:
		return nil
	case len(f.from) > 0:
		return errors.New("--repair is about a cluster, and a record of one (--from) cannot be repaired")
	case f.list:
		return errors.New("--list looks at nothing, so there is nothing to --repair")
	case f.watch:
		return errors.New("--repair is done once: leave --watch out, or start it in another terminal")
	case pod:
		return errors.New("--repair is about checks: leave the pod out, or give an area such as 'drift'")
	case slices.Contains(diagnose.Forms(), f.output.Output):
		return fmt.Errorf("--output=%s is a form of findings alone: use json", f.output.Output)
	case !f.yes && !asks(f.streams):
		return errNobody // before it looks for what it must not repair
	}
	return nil
}

func (f *diagnoseFlags) repairFindings(ctx context.Context, o diagnose.Options) error {
	ask := func(before *diagnose.Report, what string) (bool, error) {
		if err := before.Text(f.streams.ErrOut, output.Style{}, false); err != nil {
			return false, err
		}
		return confirm(f.streams, what)
	}
	if f.yes {
		ask = nil
	}
	r, err := diagnose.Repair(ctx, o, ask)
	if err != nil {
		return err
	}
	return output.Print(f.streams, r, &f.output)
}
