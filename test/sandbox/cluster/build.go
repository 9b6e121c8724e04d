package cluster

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/ovnkctl/ovnkctl/test/sandbox/machine"
	"github.com/ovnkctl/ovnkctl/test/sandbox/progress"
)

// kept is how many entries of each kind stay in the cache: other checkouts and
// branches may use older ones.
const kept = 3

// buildSteps are what can be built ahead, by the names that `build` takes.
var buildSteps = map[string]func(*Sandbox, context.Context) error{
	"kube":   (*Sandbox).buildPrograms,
	"images": (*Sandbox).Build,
	"ovn":    (*Sandbox).buildRoot,
	"tests":  (*Sandbox).buildTests,
}

// BuildSteps lists the names that BuildOnly takes.
func BuildSteps() []string { return slices.Sorted(maps.Keys(buildSteps)) }

// BuildOnly fills the caches, of everything or of the named steps.
func (s *Sandbox) BuildOnly(ctx context.Context, steps ...string) error {
	if len(steps) == 0 {
		steps = []string{"images", "tests"}
	}
	if err := s.out.Do("machine", func(p *progress.Phase) error { return s.installPackages(ctx, p) }); err != nil {
		return err
	}
	for _, name := range steps {
		if err := buildSteps[name](s, ctx); err != nil {
			return err
		}
	}
	return nil
}

// Build makes what a cluster needs: the programs and the images.
func (s *Sandbox) Build(ctx context.Context) error {
	if err := s.buildPrograms(ctx); err != nil {
		return err
	}
	if err := s.out.Do("images", func(p *progress.Phase) error {
		b := s.images(p.Note)
		base, err := b.Base(ctx)
		if err != nil {
			return err
		}
		s.store, err = b.Store(ctx, base)
		p.Note("")
		return err
	}); err != nil {
		return err
	}
	for _, kind := range []string{"kube", "kube-tests", "rootfs", "base-layer", "containerd"} {
		if err := s.cache.Prune(kind, kept); err != nil {
			return err
		}
	}
	return nil
}

func (s *Sandbox) buildPrograms(ctx context.Context) error {
	return s.out.Do("kubernetes programs", func(p *progress.Phase) error {
		if err := s.makeLogs(); err != nil {
			return err
		}
		set, err := s.builder(p.Note).Cluster(ctx)
		s.programs = set
		p.Note("")
		return err
	})
}

// installPackages installs what the machine lacks.
func (s *Sandbox) installPackages(ctx context.Context, p *progress.Phase) error {
	missing := machine.Missing()
	if len(missing) == 0 {
		return nil
	}
	p.Note("installing %s", strings.Join(missing, " "))
	if err := s.makeLogs(); err != nil {
		return err
	}
	return machine.Install(ctx, missing, s.log("packages"))
}

// buildTests makes Kubernetes' end-to-end tests, which only `e2e` needs.
func (s *Sandbox) buildTests(ctx context.Context) error {
	return s.out.Do("end-to-end tests", func(p *progress.Phase) error {
		if err := s.makeLogs(); err != nil {
			return err
		}
		_, err := s.builder(p.Note).Tests(ctx)
		p.Note("")
		return err
	})
}

// buildRoot makes the Debian root with OVN and Open vSwitch.
func (s *Sandbox) buildRoot(ctx context.Context) error {
	return s.out.Do("OVN and Open vSwitch", func(p *progress.Phase) error {
		if err := s.makeLogs(); err != nil {
			return err
		}
		root, _, err := s.images(p.Note).Root(ctx)
		p.Note("%s", root)
		return err
	})
}

func (s *Sandbox) makeLogs() error {
	if err := os.MkdirAll(s.Logs(), 0o755); err != nil {
		return fmt.Errorf("logs: %w", err)
	}
	return nil
}

// UnknownStep says what is wrong with names for BuildOnly.
func UnknownStep(steps []string) error {
	for _, n := range steps {
		if buildSteps[n] == nil {
			return fmt.Errorf("build step %q: use %s", n, strings.Join(BuildSteps(), ", "))
		}
	}
	return nil
}
