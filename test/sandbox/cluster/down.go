package cluster

import (
	"errors"
	"fmt"
	"os"

	"github.com/ovnkctl/ovnkctl/test/sandbox/cgroup"
	"github.com/ovnkctl/ovnkctl/test/sandbox/fabric"
	"github.com/ovnkctl/ovnkctl/test/sandbox/netspace"
	"github.com/ovnkctl/ovnkctl/test/sandbox/proc"
	"github.com/ovnkctl/ovnkctl/test/sandbox/progress"
)

// Down ends the cluster and removes every trace of it from the machine and the
// checkout, except logs and test reports if these are to be kept. It works on
// any rest of any run.
func (s *Sandbox) Down(keepLogs bool) error {
	return s.out.Do("down", func(p *progress.Phase) error {
		if err := errors.Join(s.sweep(p.Note), s.sysctls().Restore()); err != nil {
			return err // the folder stays: it knows what is left
		}
		s.state = State{}
		p.Note("removing %s", s.path())
		if err := s.clear(keepLogs); err != nil {
			return fmt.Errorf("sandbox folder: %w", err)
		}
		p.Note("")
		return nil
	})
}

// clear removes the state folder.
func (s *Sandbox) clear(keepLogs bool) error {
	if !keepLogs {
		return os.RemoveAll(s.path())
	}
	entries, err := os.ReadDir(s.path())
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == "logs" || e.Name() == "e2e" {
			continue
		}
		if err := os.RemoveAll(s.path(e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// sweep ends every process of the sandbox and removes its networks and cgroups
// from the machine, going by names rather than by what the state says.
func (s *Sandbox) sweep(note func(string, ...any)) error {
	var errs []error
	for _, n := range s.processes().Names() {
		note("ending %s", n)
		errs = append(errs, s.processes().Kill(n))
	}
	spaces, err := netspace.List(fabric.Prefix)
	errs = append(errs, err)
	for _, ns := range spaces {
		errs = append(errs, endAll(ns))
	}
	note("removing networks and cgroups")
	errs = append(errs, fabric.Remove())
	cgroups, err := cgroup.Detect()
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	return errors.Join(append(errs, cgroups.Remove(""))...)
}

// inherit clears away what the sandbox of another checkout left on the machine
// when it was killed as a whole. One of which anything still runs is refused.
func (s *Sandbox) inherit(owner string) error {
	unlock, err := lock(owner)
	switch {
	case err == nil:
		defer unlock()
	case !errors.Is(err, os.ErrNotExist): // a removed checkout changes nothing any more
		return err
	}
	other := &Sandbox{Checkout: owner, out: s.out}
	lives, err := other.lives()
	if err != nil {
		return err
	}
	if lives {
		return fmt.Errorf("this machine already runs the sandbox of %s, and there can be only one: `bin/sandbox down` there", owner)
	}
	return s.out.Do("clearing", func(p *progress.Phase) error {
		p.Note("the killed sandbox of %s", owner)
		return errors.Join(other.sweep(p.Note), other.sysctls().Restore())
	})
}

// lives reports whether any process of this sandbox runs, going by the
// networks of the machine as well as by its own records.
func (s *Sandbox) lives() (bool, error) {
	for _, n := range s.processes().Names() {
		if _, ok := s.processes().Get(n); ok {
			return true, nil
		}
	}
	spaces, err := netspace.List(fabric.Prefix)
	if err != nil {
		return false, err
	}
	for _, ns := range spaces {
		pids, err := netspace.Processes(ns)
		if err != nil || len(pids) > 0 {
			return len(pids) > 0, err
		}
	}
	return false, nil
}

// endAll ends what runs in one of our network namespaces: commands executed
// there, and processes whose record a killed run did not write.
func endAll(ns string) error {
	pids, err := netspace.Processes(ns)
	errs := []error{err}
	for _, pid := range pids {
		errs = append(errs, proc.End(pid))
	}
	return errors.Join(errs...)
}
