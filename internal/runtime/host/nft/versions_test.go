//go:build ovn && linux

package nft_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ovnkctl/ovnkctl/internal/runtime/host/nft"
)

// versions are two releases of nft: what they leave with the kernel for each other differs.
func versions(t *testing.T) map[string]nft.Exec {
	t.Helper()
	out := map[string]nft.Exec{}
	for _, e := range []nft.Exec{boxed(t), installed(t)} {
		text, err := exec.Command(e.Path, "--version").Output()
		if err != nil {
			t.Fatalf("%s --version: %v", e.Path, err)
		}
		out[strings.Fields(string(text))[1]] = e
	}
	if len(out) < 2 {
		t.Skipf("only one version of nft here: %v", out)
	}
	return out
}

// listsAll fails the test when a program cannot list what another one made.
func listsAll(t *testing.T, by nft.Exec, what string) {
	t.Helper()
	for _, args := range [][]string{
		{"list", "ruleset"}, {"-j", "list", "ruleset"}, {"-j", "--terse", "--numeric", "list", "ruleset"}, {"list", "tables"},
	} {
		if text, err := exec.Command(by.Path, args...).CombinedOutput(); err != nil {
			t.Errorf("%s: nft %s: %v\n%s", what, strings.Join(args, " "), err, text)
		}
	}
}

// Operators list the tables with the nft of the host, which is another than the one that
// made them; and after an upgrade ovnkctl itself finds tables that another one made.
func TestRealVersionsListEachOthersTables(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../testdata/tables/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no tables: %v", err)
	}
	all := versions(t)
	for _, file := range files {
		for made, maker := range all {
			for listed, lister := range all {
				what := filepath.Base(file) + " of " + made + " by " + listed
				t.Run(what, func(t *testing.T) {
					inNamespace(t, func() { versionsAgree(t, file, maker, lister) })
				})
			}
		}
	}
}

func versionsAgree(t *testing.T, file string, maker, lister nft.Exec) {
	script, err := os.ReadFile(file)
	if err != nil {
		t.Error(err)
		return
	}
	family, name := "inet", "ovn-kubernetes"
	if _, device, ok := strings.Cut(string(script), ` device "`); ok {
		family, name = "netdev", "ovnkctl-guard"
		device, _, _ = strings.Cut(device, `"`)
		if text, err := exec.Command("ip", "link", "add", device, "type", "veth").CombinedOutput(); err != nil {
			t.Errorf("NIC: %v: %s", err, text)
		}
	}
	load(t, maker, string(script))
	listsAll(t, lister, "made by "+maker.Path)
	ctx := t.Context()
	have, err := lister.List(ctx, family, name)
	if err != nil || have == nil {
		t.Errorf("%v: %v", have, err)
		return
	}
	// Anonymous sets, which the rules have, are not left out of it.
	if digest, err := lister.Digest(ctx, family, name); err != nil || digest != have.Digest {
		t.Errorf("the digest is %s, not %s: %v", digest, have.Digest, err)
	}
	// A version that finds the table takes nothing in it for something else.
	theirs, err := maker.List(ctx, family, name)
	if err != nil || theirs == nil {
		t.Errorf("%v: %v", theirs, err)
		return
	}
	if ops := nft.Diff(&nft.Table{Sets: theirs.Sets, Maps: theirs.Maps}, nft.Table{Sets: have.Sets, Maps: have.Maps}); len(ops) > 0 {
		t.Errorf("read differently: %v", ops)
	}
}

// named declares by the names of types, as ovnkctl did before.
var named = strings.NewReplacer(
	"typeof", "type", "meta l4proto", "inet_proto", "th dport", "inet_service", "ip daddr", "ipv4_addr",
)

// A table whose sets and maps were declared by the names of types is one that every nft can
// list after one transaction.
func TestRealSetsAreDeclaredAnew(t *testing.T) {
	t.Parallel()
	all := versions(t)
	want := services(300, 20)
	want.Sets = []nft.Set{{Name: "s", Type: "ipv4_addr", Elements: []string{"10.0.0.1"}}}
	for version, e := range all {
		t.Run(version, func(t *testing.T) {
			inNamespace(t, func() {
				var script strings.Builder
				for _, o := range nft.Diff(nil, want) {
					text := o.String()
					if o.Verb == nft.AddMap || o.Verb == nft.AddSet {
						text = named.Replace(text)
					}
					script.WriteString(text + "\n")
				}
				load(t, e, script.String())
				apply(t.Context(), t, e, nft.Diff(list(t.Context(), t, e, want), want))
				for other, lister := range all {
					listsAll(t, lister, "by "+other)
					if ops := nft.Diff(list(t.Context(), t, lister, want), want); len(ops) > 0 && other == version {
						t.Errorf("still differs: %v", ops)
					}
				}
			})
		})
	}
}

func load(t *testing.T, e nft.Exec, script string) {
	t.Helper()
	cmd := exec.Command(e.Path, "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, text)
	}
}
