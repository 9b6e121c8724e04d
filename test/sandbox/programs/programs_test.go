package programs

import (
	"os"
	"strings"
	"testing"
)

func TestKubernetesVersion(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"require k8s.io/kubernetes v1.37.2\n":                          "v1.37.2",
		"require (\n\tk8s.io/kubernetes v1.38.0-rc.1 // indirect\n)\n": "v1.38.0-rc.1",
		"tool k8s.io/kubernetes/cmd/kubelet\n":                         "",
	} {
		got, err := kubernetesVersion([]byte(in))
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
}

func TestLDFlagsStampBothVersionPackages(t *testing.T) {
	t.Parallel()
	got := ldflags("v1.37.2")
	for _, want := range []string{
		"-X k8s.io/client-go/pkg/version.gitVersion=v1.37.2", "-X k8s.io/component-base/version.gitVersion=v1.37.2",
		"-X k8s.io/component-base/version.gitMinor=37",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q lacks %q", got, want)
		}
	}
}

func TestKeyFollowsSources(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := Builder{Checkout: dir}
	write := func(name, content string) {
		t.Helper()
		path := b.module() + "/" + name
		if err := os.MkdirAll(b.module()+"/kubebox", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "require k8s.io/kubernetes v1.37.2\n")
	write("go.sum", "a")
	write("kubebox/main.go", "package main")
	keys := func() (cluster, tests string) {
		c, _, err := b.key(t.Context(), "kubebox/*.go")
		if err != nil {
			t.Fatal(err)
		}
		e, _, err := b.key(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return c.String(), e.String()
	}
	c1, t1 := keys()
	write("kubebox/main.go", "package main // changed")
	c2, t2 := keys()
	if c1 == c2 || t1 != t2 {
		t.Error("a changed source must rebuild the cluster's programs only")
	}
	write("go.sum", "b")
	c3, t3 := keys()
	if c3 == c2 || t3 == t2 {
		t.Error("changed pins must rebuild everything")
	}
}
