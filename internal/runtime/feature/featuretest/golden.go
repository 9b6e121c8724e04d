// Package featuretest tests features: Kubernetes objects in, rows out.
//
// A case is a txtar archive in testdata/:
//
//	comment        what the case shows
//	-- config.yaml --   what differs from the default configuration (optional)
//	-- node --          name of the local node
//	-- print --         the keys to print, by blanks (optional: all)
//	-- network.yaml --  what differs in the default network itself (optional)
//	-- objects.yaml --  Nodes, Pods, Namespaces, Services, EndpointSlices, ServiceCIDRs and
//	                    policies of all kinds as the API server has them
//	-- want --          the rows and reasons, written by `go test -update`
//
// Besides comparing the rows, every case is checked for what must hold of any feature: see
// Consistent and CheckKeys.
package featuretest

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
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
		for _, k := range AllKeys(f, c.Config, c.Objects) {
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
	var ofNetwork []byte
	for _, f := range archive.Files {
		switch f.Name {
		case "config.yaml":
			if err := yaml.UnmarshalStrict(f.Data, settings); err != nil {
				t.Fatalf("config.yaml: %v", err)
			}
		case "network.yaml":
			ofNetwork = f.Data
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
	if err := yaml.UnmarshalStrict(ofNetwork, &network); err != nil {
		t.Fatalf("network.yaml: %v", err)
	}
	c.Config.Networks = []world.Network{network}
	return c
}

// AllKeys are the keys that the objects touch when they appear one after the other, in one
// order or the other.
func AllKeys(f feature.Feature, c world.Config, objects []Object) []feature.Key {
	keys := map[feature.Key]bool{}
	for _, reverse := range []bool{false, true} {
		s := world.New(c)
		s.Subscribe(func(v world.View, ch world.Change) {
			for _, k := range f.Keys(v, ch) {
				keys[k] = true
			}
		})
		for i := range objects {
			if reverse {
				i = len(objects) - 1 - i
			}
			objects[i].set(s)
		}
	}
	return slices.SortedFunc(maps.Keys(keys), func(a, b feature.Key) int { return strings.Compare(a.String(), b.String()) })
}

// allSets are the sets of an output by database.
func allSets(out feature.Output) map[string]rows.Set {
	return map[string]rows.Set{"NB": out.NB, "SB": out.SB}
}
