//go:build ovn && linux

package nft_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/ovnkctl/ovnkctl/internal/runtime/host/nft"
	"github.com/ovnkctl/ovnkctl/test/ovn/box"
)

// boxed is the nft that lies beside the OVN of the tests, by one path.
func boxed(t testing.TB) nft.Exec {
	t.Helper()
	programs, err := box.FindPrograms()
	if err != nil {
		t.Skip(err)
	}
	argv, err := programs.Argv("nft")
	if err != nil {
		t.Skip(err)
	}
	path := filepath.Join(t.TempDir(), "nft")
	if err := os.WriteFile(path, []byte("#!/bin/sh\nexec '"+strings.Join(argv, "' '")+"' \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return nft.Exec{Path: path}
}

// renamed keeps table t under another name.
type renamed struct{ firewall }

func (r renamed) List(ctx context.Context, family, name string) (*nft.Table, error) {
	t, err := r.firewall.List(ctx, family, name+"-anew")
	if t != nil {
		t.Name = name
	}
	return t, err
}

func (r renamed) Apply(ctx context.Context, ops []nft.Op) error {
	for i := range ops {
		ops[i].Table += "-anew"
	}
	return r.firewall.Apply(ctx, ops)
}

// Diff makes nothing that the kernel or either nft refuses.
func TestRealDiffLeadsToWhatIsWanted(t *testing.T) {
	t.Parallel()
	for name, find := range map[string]func(testing.TB) nft.Exec{"boxed": boxed, "installed": installed} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := find(t)
			inNamespace(t, func() {
				rapid.Check(t, func(t *rapid.T) { leads(t, e, renamed{e}) })
			})
		})
	}
}

func TestRealBoxedExec(t *testing.T) {
	t.Parallel()
	e := boxed(t)
	inNamespace(t, func() { useNFT(t, e) })
	inNamespace(t, func() { rulesComeLater(t, e) })
}

// Thousands of services, sent and listed by the program; one of them changes.
func BenchmarkReal(b *testing.B) {
	for name, find := range map[string]func(testing.TB) nft.Exec{"boxed": boxed, "installed": installed} {
		e, table := find(b), services(20000, 1000)
		apply := func(b *testing.B, ops []nft.Op) {
			if err := e.Apply(b.Context(), ops); err != nil {
				b.Fatal(err)
			}
		}
		for what, f := range map[string]func(*testing.B){
			"make": func(b *testing.B) { apply(b, nft.Rewrite(&table, table)) },
			"list": func(b *testing.B) {
				if have, err := e.List(b.Context(), "inet", "t"); err != nil || len(nft.Diff(have, table)) > 0 {
					b.Fatal(err)
				}
			},
			"digest": func(b *testing.B) {
				if _, err := e.Digest(b.Context(), "inet", "t"); err != nil {
					b.Fatal(err)
				}
			},
			"one": func(b *testing.B) {
				m := nft.Map{Name: "m", Elements: map[string]string{"tcp . 7": table.Maps[0].Elements["tcp . 7"]}}
				apply(b, []nft.Op{
					{Verb: nft.DeleteElements, Family: "inet", Table: "t", Map: &m}, {Verb: nft.AddElements, Family: "inet", Table: "t", Map: &m},
				})
			},
		} {
			b.Run(name+"/"+what, func(b *testing.B) {
				inNamespace(b, func() {
					apply(b, nft.Diff(nil, table))
					for b.Loop() {
						f(b)
					}
				})
			})
		}
	}
}
