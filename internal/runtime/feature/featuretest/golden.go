// Package featuretest tests features: Kubernetes objects in, rows out.
//
// A case is a txtar archive in testdata/:
//
//	comment        what the case shows
//	-- config.yaml --   what differs from the default configuration (optional)
//	-- node --          name of the local node
//	-- print --         the keys to print, by blanks (optional: all)
//	-- objects.yaml --  Nodes and Pods as the API server has them
//	-- want --          the rows and reasons, written by `go test -update`
//
// Besides comparing the rows, every case is checked for what must hold of any feature: see
// Consistent and CheckKeys.
package featuretest

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/ovnkctl/ovnkctl/internal/config"
	"github.com/ovnkctl/ovnkctl/internal/ovn/rows"
	"github.com/ovnkctl/ovnkctl/internal/ovn/rows/rowtext"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Golden runs all cases of testdata/ and returns the codes of the reasons they gave.
func Golden(t *testing.T, f feature.Feature) map[string]bool {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases in testdata: %v", err)
	}
	codes := map[string]bool{}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			maps.Copy(codes, golden(t, f, file))
		})
	}
	return codes
}

func golden(t *testing.T, f feature.Feature, file string) map[string]bool {
	t.Helper()
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c := parse(t, archive)
	CheckKeys(t, f, c.Config, c.Objects)

	store := c.Store()
	codes := map[string]bool{}
	var text strings.Builder
	store.Read(func(v world.View) {
		for _, k := range AllKeys(f, v, c.Objects) {
			out, reasons := f.Desired(v, k)
			Consistent(t, k, out)
			for _, r := range reasons {
				codes[r.Code] = true
			}
			if c.prints(k) {
				text.WriteString(Text(k, out, reasons))
			}
		}
	})
	if *update {
		archive.Files = slices.DeleteFunc(archive.Files, func(f txtar.File) bool { return f.Name == "want" })
		archive.Files = append(archive.Files, txtar.File{Name: "want", Data: []byte(text.String())})
		if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
		return codes
	}
	if diff := cmp.Diff(c.want, text.String()); diff != "" {
		t.Errorf("rows differ (-want +got); `go test -update` accepts them:\n%s", diff)
	}
	return codes
}

// Text prints what one key wants and why it is not more.
func Text(k feature.Key, out feature.Output, reasons []feature.Reason) string {
	var b strings.Builder
	section := func(name, text string) {
		if text != "" {
			fmt.Fprintf(&b, "## %s %s\n%s", k, name, text)
		}
	}
	section("NB", rowtext.Text(out.NB))
	section("SB", rowtext.Text(out.SB))
	var lines strings.Builder
	for _, r := range reasons {
		fmt.Fprintf(&lines, "%s %s %s\n    %s\n    → %s\n", r.Code, r.Object.Kind, r.Object.Name, r.Message, r.Remedy)
	}
	section("reasons", lines.String())
	return b.String()
}

// Case is what a golden file says.
type Case struct {
	Config  world.Config
	Objects []Object
	print   []string
	want    string
}

// Object is a Node or a Pod.
type Object struct {
	Node *world.Node
	Pod  *world.Pod
}

func (o Object) set(s *world.Store) {
	if o.Node != nil {
		s.SetNode(o.Node)
	} else {
		s.SetPod(o.Pod)
	}
}

func (o Object) remove(s *world.Store) {
	if o.Node != nil {
		s.DeleteNode(o.Node.Name)
	} else {
		s.DeletePod(world.PodKey{Namespace: o.Pod.Namespace, Name: o.Pod.Name})
	}
}

// Store is a store that holds the case's objects.
func (c Case) Store() *world.Store {
	s := world.New(c.Config)
	for _, o := range c.Objects {
		o.set(s)
	}
	return s
}

func (c Case) prints(k feature.Key) bool {
	return len(c.print) == 0 || slices.Contains(c.print, k.String())
}

func parse(t *testing.T, archive *txtar.Archive) Case {
	t.Helper()
	var c Case
	settings := config.Default()
	for _, f := range archive.Files {
		switch f.Name {
		case "config.yaml":
			if err := yaml.UnmarshalStrict(f.Data, settings); err != nil {
				t.Fatalf("config.yaml: %v", err)
			}
		case "node":
			c.Config.LocalNode = strings.TrimSpace(string(f.Data))
		case "print":
			c.print = strings.Fields(string(f.Data))
		case "objects.yaml":
			objects, err := Objects(f.Data)
			if err != nil {
				t.Fatalf("objects.yaml: %v", err)
			}
			c.Objects = append(c.Objects, objects...)
		case "want":
			c.want = string(f.Data)
		default:
			t.Fatalf("unknown section %q", f.Name)
		}
	}
	if err := settings.Validate(); err != nil {
		t.Fatalf("config.yaml: %v", err)
	}
	network, err := settings.DefaultNetwork()
	if err != nil {
		t.Fatal(err)
	}
	c.Config.Networks = []world.Network{network}
	return c
}

// Objects reads the Nodes and Pods of a stream of YAML documents.
func Objects(data []byte) ([]Object, error) {
	var out []Object
	r := kyaml.NewYAMLReader(bufferOf(data))
	for {
		document, err := r.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		o, err := object(document)
		if err != nil {
			return nil, err
		}
		if o != (Object{}) {
			out = append(out, o)
		}
	}
}

func object(document []byte) (Object, error) {
	var meta metav1.TypeMeta
	if err := yaml.Unmarshal(document, &meta); err != nil {
		return Object{}, err
	}
	switch meta.Kind {
	case "":
		return Object{}, nil // an empty document
	case "Node":
		var n corev1.Node
		err := yaml.UnmarshalStrict(document, &n)
		return Object{Node: world.FromNode(&n)}, err
	case "Pod":
		var p corev1.Pod
		err := yaml.UnmarshalStrict(document, &p)
		return Object{Pod: world.FromPod(&p)}, err
	}
	return Object{}, fmt.Errorf("kind %q is neither Node nor Pod", meta.Kind)
}

// AllKeys are the keys that the objects touch when they appear one after the other.
func AllKeys(f feature.Feature, v world.View, objects []Object) []feature.Key {
	keys := map[feature.Key]bool{}
	for _, o := range objects {
		for _, k := range f.Keys(v, change(nil, &o)) {
			keys[k] = true
		}
	}
	return slices.SortedFunc(maps.Keys(keys), func(a, b feature.Key) int { return strings.Compare(a.String(), b.String()) })
}

func change(old, o *Object) world.Change {
	var c world.Change
	if old != nil {
		c.OldNode, c.OldPod = old.Node, old.Pod
	}
	if o != nil {
		c.NewNode, c.NewPod = o.Node, o.Pod
	}
	for _, n := range []*world.Node{c.OldNode, c.NewNode} {
		if n != nil {
			c.Ref = n.Ref()
		}
	}
	for _, p := range []*world.Pod{c.OldPod, c.NewPod} {
		if p != nil {
			c.Ref = p.Ref()
		}
	}
	return c
}

func bufferOf(data []byte) *bufio.Reader { return bufio.NewReader(bytes.NewReader(data)) }

// allSets are the sets of an output by database.
func allSets(out feature.Output) map[string]rows.Set {
	return map[string]rows.Set{"NB": out.NB, "SB": out.SB}
}
