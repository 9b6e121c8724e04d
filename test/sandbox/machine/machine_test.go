package machine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAptDistribution(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]bool{
		"PRETTY_NAME=\"Debian GNU/Linux 13\"\nID=debian\n":           true,
		"PRETTY_NAME=\"Ubuntu 24.04\"\nID=ubuntu\nID_LIKE=debian\n":  true,
		"PRETTY_NAME=\"Mint\"\nID=mint\nID_LIKE=\"ubuntu debian\"\n": true,
		"PRETTY_NAME=\"Fedora 42\"\nID=fedora\n":                     false,
		"":                                                           false,
	} {
		if _, ok := aptDistribution(strings.NewReader(in)); ok != want {
			t.Errorf("%q: %v", in, ok)
		}
	}
}

func TestSysctlsAreSavedOnceAndRestored(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	s := Sysctls{Saved: filepath.Join(root, "saved.json"), Root: filepath.Join(root, "sys")}
	set := func(k, v string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(s.path(k)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(s.path(k), []byte(v+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	get := func(k string) string {
		t.Helper()
		b, err := os.ReadFile(s.path(k))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(b))
	}
	const panicKey, watches, instances = "kernel.panic", "fs.inotify.max_user_watches", "fs.inotify.max_user_instances"
	set(panicKey, "0")
	set(watches, "1000000")
	set(instances, "128")
	set("net.core.rmem_default", "212992")
	if err := s.Apply(); err != nil {
		t.Fatal(err)
	}
	if get(instances) != "8192" || get(watches) != "1000000" {
		t.Errorf("limits %s and %s: one must be raised, the higher one kept", get(instances), get(watches))
	}
	set(panicKey, "10") // a kubelet does this
	if err := s.Apply(); err != nil {
		t.Fatal(err)
	}
	if err := s.Restore(); err != nil {
		t.Fatal(err)
	}
	if get(panicKey) != "0" || get(instances) != "128" {
		t.Errorf("restored kernel.panic=%s, max_user_instances=%s", get(panicKey), get(instances))
	}
	set(panicKey, "3") // somebody's own change after the sandbox
	if err := s.Restore(); err != nil {
		t.Fatal(err)
	}
	if get(panicKey) != "3" {
		t.Error("a second restore changed the machine")
	}
}
