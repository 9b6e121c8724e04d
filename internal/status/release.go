package status

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/output"
)

// Build is one build of this program.
type Build struct {
	Version  string `json:"version"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func (b Build) String() string { return fmt.Sprintf("ovnkctl %s (%s %s)", b.Version, b.Go, b.Platform) }

// Release is which versions of everything run, by `ovnkctl version`.
type Release struct {
	output.Meta
	// Client is the program that was asked.
	Client Build `json:"client"`
	// Source is the cluster or record; missing when only the client was asked for.
	Source *inspect.Origin `json:"source,omitempty"`
	// Programs are those of the cluster, each with the nodes that have a version.
	Programs []Program `json:"programs,omitempty"`
	// Notes are versions that differ where they should not.
	Notes []Note `json:"notes,omitempty"`
	// Problems are what could not be read.
	Problems []*inspect.Problem `json:"problems,omitempty"`
}

// Program is a program and the versions of it that run.
type Program struct {
	Name     string    `json:"name"`
	Versions []Version `json:"versions"`
}

// releaseKind is that of the document.
const releaseKind = "Version"

// ClientRelease is that of the program alone.
func ClientRelease(client Build) *Release {
	return &Release{Meta: output.Kind(releaseKind), Client: client}
}

// ReadRelease asks all nodes of a source.
func ReadRelease(ctx context.Context, s *inspect.Snapshot, client Build) (*Release, error) {
	origin := s.Origin()
	r := ClientRelease(client)
	r.Source = &origin
	names, err := s.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	nodes := make([]Node, len(names))
	var g errgroup.Group
	var objects *inspect.Objects
	g.Go(func() (err error) {
		objects, err = s.Objects(ctx, inspect.Nodes)
		return err
	})
	g.Go(func() error {
		var mu sync.Mutex
		return s.Each(ctx, names, func(ctx context.Context, n *inspect.Node) error {
			var v Versions
			var asked errgroup.Group
			v.read(ctx, &asked, s, n)
			_ = asked.Wait() // it is noted what goes wrong
			mu.Lock()
			defer mu.Unlock()
			nodes[slices.Index(names, n.Name())] = Node{Name: n.Name(), Versions: v}
			return nil
		})
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	kubelet := kubelets(objects)
	for i := range nodes {
		nodes[i].Versions.Kubelet = kubelet[nodes[i].Name]
	}
	for _, p := range programs {
		if versions := p.versions(nodes); len(versions) > 0 {
			r.Programs = append(r.Programs, Program{p.name, versions})
		}
	}
	r.Notes, r.Problems = append(versionNotes(nodes), clientNote(client, nodes)...), s.Problems()
	return r, nil
}

// program is one whose version nodes have.
type program struct {
	name string
	of   func(*Versions) string
	// ours has it be the same on all nodes, but for upgrades.
	ours bool
}

var programs = []program{
	{"ovnkctl", func(v *Versions) string { return v.Ovnkctl }, true},
	{"ovn-northd", func(v *Versions) string { return v.Northd }, true},
	{"ovn-controller", func(v *Versions) string { return v.Controller }, true},
	{"Open vSwitch", func(v *Versions) string { return v.OVS }, true},
	{"kubelet", func(v *Versions) string { return v.Kubelet }, false},
}

// versions are those that run, in order, with the nodes that have them.
func (p *program) versions(nodes []Node) []Version {
	on := map[string][]string{}
	for i := range nodes {
		if v := p.of(&nodes[i].Versions); v != "" {
			on[v] = append(on[v], nodes[i].Name)
		}
	}
	var out []Version
	for _, v := range slices.Sorted(maps.Keys(on)) {
		out = append(out, Version{v, on[v]})
	}
	return out
}

// versionNotes tell of programs that have different versions on different nodes.
func versionNotes(nodes []Node) []Note {
	var out []Note
	for _, p := range programs {
		if versions := p.versions(nodes); p.ours && len(versions) > 1 {
			out = append(out, skewNote(p.name, "different versions", versions))
		}
	}
	return out
}

// clientNote tells that the tools that run the network's code here are of another version.
func clientNote(client Build, nodes []Node) []Note {
	versions := programs[0].versions(nodes)
	if len(versions) == 0 || slices.ContainsFunc(versions, func(v Version) bool { return v.Version == client.Version }) {
		return nil
	}
	return []Note{{
		Severity: Warning, Object: "client",
		Message: fmt.Sprintf("this program is %s, the cluster runs %s: what drift, what-if and the nearest rule say is by the rules of this program",
			client.Version, versions[0].Version),
		Next: "use ovnkctl of the cluster's version, or ovnkctl upgrade",
	}}
}

// Text implements output.Textual: the first line is the program's own.
func (r *Release) Text(w io.Writer, style output.Style, _ bool) error {
	b := bufio.NewWriter(w)
	fmt.Fprintln(b, r.Client)
	if len(r.Programs) > 0 {
		t := r.table()
		if err := t.Write(b, style); err != nil {
			return err
		}
	}
	writeNotes(b, r.Notes, style)
	for _, line := range output.ProblemLines(inspect.Errors(r.Problems)) {
		fmt.Fprintln(b, line)
	}
	return b.Flush()
}

func (r *Release) table() output.Table {
	t := output.Table{Header: []string{"PROGRAM", "VERSION", "NODES"}, Before: []string{"", "in " + r.Source.Name + ":"}}
	for _, p := range r.Programs {
		for _, v := range p.Versions {
			nodes := strings.Join(v.Nodes, ", ")
			if len(p.Versions) == 1 && len(v.Nodes) > 3 {
				nodes = fmt.Sprintf("all %d", len(v.Nodes))
			}
			t.Rows = append(t.Rows, []string{p.Name, v.Version, nodes})
		}
	}
	return t
}

// Names implements output.Named.
func (r *Release) Names() []string { return []string{r.Client.Version} }

// ExitCode implements output.Coded.
func (r *Release) ExitCode() int {
	if len(r.Problems) > 0 {
		return output.Partial
	}
	return output.OK
}
