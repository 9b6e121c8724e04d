package status

import (
	"context"
	"errors"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/sb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/vswitch"
)

// facts are what a status is made of.
type facts struct {
	// objects has Nodes and Pods alone.
	objects      *inspect.Objects
	namespace    string // of the network
	networkPods  []corev1.Pod
	installation *inspect.Installation
	nodes        []string
	ovn          map[string]*zoneFacts
	problems     []*inspect.Problem
	findings     *Findings
}

// zoneFacts are those of one node's databases; nil for one that could not be read.
type zoneFacts struct {
	nb, sb   *ovn.Content
	versions Versions
}

// The tables that a status needs. Logical flows are most of a database, and not among them.
var (
	northTables = []string{nb.NBGlobalTable, nb.LogicalSwitchPortTable}
	southTables = []string{sb.SBGlobalTable, sb.ChassisTable, sb.ChassisPrivateTable, sb.PortBindingTable}
)

// read reads what a snapshot knows. The error is about what nothing can be said without.
func read(ctx context.Context, s *inspect.Snapshot) (*facts, error) {
	f := &facts{namespace: s.Namespace(), ovn: map[string]*zoneFacts{}}
	var err error
	if f.nodes, err = s.Nodes(ctx); err != nil {
		return nil, err
	}
	if f.networkPods, err = s.NetworkPods(ctx); err != nil {
		return nil, err
	}
	var g errgroup.Group
	g.Go(func() (err error) {
		f.objects, err = s.Objects(ctx, inspect.Nodes, inspect.Pods)
		return err
	})
	g.Go(func() (err error) {
		f.installation, err = s.Installation(ctx)
		return err
	})
	g.Go(func() error { return f.readNodes(ctx, s) })
	if err := g.Wait(); err != nil {
		return nil, err
	}
	f.problems = s.Problems()
	return f, nil
}

func (f *facts) readNodes(ctx context.Context, s *inspect.Snapshot) error {
	var mu sync.Mutex
	return s.Each(ctx, f.nodes, func(ctx context.Context, n *inspect.Node) error {
		z := readZone(ctx, s, n)
		mu.Lock()
		defer mu.Unlock()
		f.ovn[n.Name()] = z
		return nil
	})
}

// readZone reads all that is asked of a node at once: each answer is a round trip.
func readZone(ctx context.Context, s *inspect.Snapshot, n *inspect.Node) *zoneFacts {
	z := &zoneFacts{}
	var g errgroup.Group
	database := func(to **ovn.Content, d *ovn.Database, tables ...string) {
		g.Go(func() error {
			var err error
			if *to, err = n.Database(ctx, d, tables...); err != nil {
				s.NoteError(n.Name(), d.Name, err)
			}
			return nil
		})
	}
	var host *ovn.Content
	database(&z.nb, ovn.Northbound(), northTables...)
	database(&z.sb, ovn.Southbound(), southTables...)
	database(&host, ovn.OpenVSwitch(), vswitch.OpenvSwitchTable)
	z.versions.read(ctx, &g, s, n)
	_ = g.Wait()                             // they note what goes wrong
	if host != nil && z.versions.OVS == "" { // only some ways of starting it write the column
		for _, o := range ovn.RowsOf[vswitch.OpenvSwitch](host) {
			if o.OVSVersion != nil {
				z.versions.OVS = *o.OVSVersion
			}
		}
	}
	return z
}

// read has a group ask a node's programs for their versions.
func (v *Versions) read(ctx context.Context, g *errgroup.Group, s *inspect.Snapshot, n *inspect.Node) {
	for _, p := range []struct {
		to    *string
		text  string
		parse func(string) string
	}{
		{&v.Northd, inspect.TextVersionNorthd, lastField}, {&v.Controller, inspect.TextVersionCtl, lastField},
		{&v.OVS, inspect.TextVersionOVS, lastField}, {&v.Ovnkctl, inspect.TextVersion, secondField},
	} {
		g.Go(func() error {
			printed, err := n.Text(ctx, p.text)
			switch {
			case err == nil:
				*p.to = p.parse(printed)
			case !errors.Is(err, inspect.ErrAbsent):
				s.NoteError(n.Name(), p.text, err)
			}
			return nil
		})
	}
}

// lastField is the version in "ovn-northd 25.03.0" or "ovs-vswitchd (Open vSwitch) 3.5.0",
// the first lines of what these programs print.
func lastField(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	if words := strings.Fields(line); len(words) > 1 {
		return words[len(words)-1]
	}
	return ""
}

// secondField is the version in "ovnkctl v1.2.3 (go1.26 linux/amd64)".
func secondField(text string) string {
	if words := strings.Fields(text); len(words) > 1 {
		return words[1]
	}
	return ""
}
