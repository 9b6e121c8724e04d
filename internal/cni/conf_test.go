package cni_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/libcni"

	"github.com/ovnkctl/ovnkctl/internal/cni"
)

func TestConf(t *testing.T) {
	t.Parallel()
	c := cni.Conf{Dir: filepath.Join(t.TempDir(), "net.d"), Version: "1.0.0", Socket: "/run/cni.sock"}
	if err := c.Remove(); err != nil {
		t.Errorf("remove what is not there: %v", err)
	}
	if err := c.Write(); err != nil {
		t.Fatal(err)
	}
	// The library that runtimes read it with.
	list, err := libcni.ConfListFromFile(c.Path())
	if err != nil {
		t.Fatal(err)
	}
	if list.CNIVersion != "1.0.0" || list.Name != "ovn-kubernetes" || list.DisableCheck || list.DisableGC ||
		len(list.Plugins) != 1 || list.Plugins[0].Network.Type != "ovn-k8s-cni-overlay" {
		t.Errorf("runtimes read %+v", list)
	}
	var plugin struct {
		Socket string `json:"socket"`
	}
	if err := json.Unmarshal(list.Plugins[0].Bytes, &plugin); err != nil || plugin.Socket != "/run/cni.sock" {
		t.Errorf("socket %q (%v)", plugin.Socket, err)
	}
	before, _ := os.Stat(c.Path())
	if err := c.Write(); err != nil {
		t.Fatal(err)
	}
	if after, _ := os.Stat(c.Path()); !os.SameFile(before, after) {
		t.Error("a configuration that was right was written again; runtimes reload on every event")
	}
	c.Version = "1.1.0"
	if err := c.Write(); err != nil {
		t.Fatal(err)
	}
	if list, err := libcni.ConfListFromFile(c.Path()); err != nil || list.CNIVersion != "1.1.0" {
		t.Errorf("after a change: %+v, %v", list, err)
	}
	if err := c.Remove(); err != nil {
		t.Fatal(err)
	}
	wantFiles(t, c.Dir)
	c.Version = "2.0.0"
	if err := c.Write(); err == nil || !strings.Contains(err.Error(), `"2.0.0" is not one of`) {
		t.Errorf("unknown version: got %v", err)
	}
}

func TestInstallShim(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	source, bin := filepath.Join(dir, "shim"), filepath.Join(dir, "opt", "bin")
	target := filepath.Join(bin, cni.PluginType)
	install := func() {
		t.Helper()
		if err := cni.InstallShim(source, bin); err != nil {
			t.Fatal(err)
		}
		want, _ := os.ReadFile(source)
		got, err := os.ReadFile(target)
		if err != nil || string(got) != string(want) {
			t.Fatalf("installed %d bytes (%v), want %d", len(got), err, len(want))
		}
		if info, _ := os.Stat(target); info.Mode().Perm() != 0o755 {
			t.Errorf("mode %v", info.Mode())
		}
		wantFiles(t, bin, cni.PluginType)
	}
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(source, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	large := strings.Repeat("x", 64<<10) // exactly one buffer of the comparison
	for _, content := range []string{"first", "other", large, large[1:] + "y", large + "z", ""} {
		write(content)
		install()
		before, _ := os.Stat(target)
		install()
		if after, _ := os.Stat(target); !os.SameFile(before, after) {
			t.Errorf("equal content of %d bytes was installed again", len(content))
		}
	}
	if err := os.Chmod(target, 0o600); err != nil {
		t.Fatal(err)
	}
	install()
	if err := cni.InstallShim(filepath.Join(dir, "none"), bin); err == nil {
		t.Error("no error without a source")
	}
}

func wantFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%s holds %v, want %v", dir, got, want)
	}
}
