package install

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the golden files")

// TestRender renders the values of each golden file and compares the manifests with it.
func TestRender(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/render/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("golden files: %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			golden, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var given values
			if err := yaml.UnmarshalStrict(section(golden, "values.yaml"), &given); err != nil {
				t.Fatal(err)
			}
			var got string
			r, err := render(testChart(t), given, DefaultNamespace)
			if err != nil {
				got = err.Error() + "\n"
			} else {
				got = withoutSchemas(r) + "# NOTES\n" + comment(r.notes)
			}
			if *update {
				text := fmt.Sprintf("%s-- values.yaml --\n%s-- want --\n%s", golden.Comment, section(golden, "values.yaml"), got)
				if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(section(golden, "want")), got); diff != "" {
				t.Errorf("to accept: go test ./internal/install -run TestRender -update\n%s", diff)
			}
		})
	}
}

// withoutSchemas is the manifest with the names of definitions alone: they are files of the
// chart.
func withoutSchemas(r *rendered) string {
	text := ""
	for i, o := range r.objects {
		if o.GetKind() == "CustomResourceDefinition" {
			text += "---\n# CustomResourceDefinition " + o.GetName() + "\n"
			continue
		}
		text += r.parts[i]
	}
	return text
}

// TestDefinitions: every kind that the programs watch is defined, with the version that they
// ask for, and stays when the network goes.
func TestDefinitions(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"adminnetworkpolicies.policy.networking.k8s.io":         "v1alpha1",
		"baselineadminnetworkpolicies.policy.networking.k8s.io": "v1alpha1",
		"clusternetworkpolicies.policy.networking.k8s.io":       "v1alpha2",
		"egressfirewalls.k8s.ovn.org":                           "v1",
	}
	for _, o := range testRender(t).objects {
		if o.GetKind() != "CustomResourceDefinition" {
			if isKept(o) {
				t.Errorf("%s %s would stay", o.GetKind(), o.GetName())
			}
			continue
		}
		if !isKept(o) {
			t.Errorf("%s would not stay", o.GetName())
		}
		versions, _, err := unstructured.NestedSlice(o.Object, "spec", "versions")
		if err != nil || len(versions) != 1 || versions[0].(map[string]any)["name"] != want[o.GetName()] {
			t.Errorf("%s: versions %v (%v), want %s alone", o.GetName(), len(versions), err, want[o.GetName()])
		}
		delete(want, o.GetName())
	}
	if len(want) != 0 {
		t.Errorf("not defined: %v", want)
	}
	for _, o := range testRender(t, "definitions.egressFirewall=false", "definitions.networkPolicyAPI=false").objects {
		if o.GetKind() == "CustomResourceDefinition" {
			t.Errorf("%s is defined though it should not be", o.GetName())
		}
	}
}

// TestLeaveDefinitions: what something else defined stays, and so does what is newer.
func TestLeaveDefinitions(t *testing.T) {
	t.Parallel()
	of := func(release, version string) *unstructured.Unstructured {
		o := &unstructured.Unstructured{}
		o.SetAnnotations(map[string]string{
			"meta.helm.sh/release-name": release, "meta.helm.sh/release-namespace": DefaultNamespace, bundleVersion: version,
		})
		return o
	}
	brings := of("", "v0.1.7")
	for _, c := range []struct {
		what string
		live *unstructured.Unstructured
		take bool
		want string
	}{
		{"nothing there", nil, false, ""},
		{"ours, older", of(Release, "v0.1.5"), false, ""},
		{"ours, the same", of(Release, "v0.1.7"), false, ""},
		{"ours, newer", of(Release, "v0.1.10"), false, "it is of the newer version 0.1.10"},
		{"ours, of no version", of(Release, ""), false, ""},
		{"another's, older", of("other", "v0.1.1"), false, "something else defined it"},
		{"another's, to be taken", of("other", "v0.1.1"), true, ""},
	} {
		op := &operation{Installer: &Installer{Config: Config{Namespace: DefaultNamespace}}, Options: Options{TakeOwnership: c.take}}
		if got := op.whyLeave(c.live, brings); got != c.want {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
}

func section(a *txtar.Archive, name string) []byte {
	for _, f := range a.Files {
		if f.Name == name {
			return f.Data
		}
	}
	return nil
}

func comment(s string) string {
	var b bytes.Buffer
	for line := range strings.Lines(s) {
		b.WriteString(strings.TrimRight("# "+line, " \n") + "\n")
	}
	return b.String()
}
