package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/proxy"
)

func at(text string) netip.AddrPort { return netip.MustParseAddrPort(text) }

func dual() Lead {
	return Lead{
		Device: "mp0", Proxy: []netip.AddrPort{at("10.244.0.2:9412"), at("[fd00:10:244::2]:9412")},
		Subnets: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/24"), netip.MustParsePrefix("fd00:10:244::/64")},
		Servers: []proxy.DNSServer{
			{Protocol: world.UDP, At: at("10.244.0.9:53")}, {Protocol: world.TCP, At: at("10.244.0.9:53")},
			{Protocol: world.UDP, At: at("[fd00:10:244::9]:5353")},
		},
	}
}

// fakeNft keeps what it is given, one file for each call, and fails while there is a file
// "broken".
func fakeNft(t *testing.T) (path string, scripts func() []string) {
	t.Helper()
	dir := t.TempDir()
	path = filepath.Join(dir, "nft")
	text := fmt.Sprintf("#!/bin/sh\nif [ -e %[1]s/broken ]; then echo 'Error: broken' >&2; exit 1; fi\nn=$(ls %[1]s/s.* 2>/dev/null | wc -l)\ncat > %[1]s/s.$(printf %%03d $n)\n", dir)
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	return path, func() []string {
		t.Helper()
		files, err := filepath.Glob(filepath.Join(dir, "s.*"))
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, f := range files {
			data, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, string(data))
		}
		return out
	}
}

// The steps from state to state: what is written, and when connections are forgotten.
func TestRedirectSteps(t *testing.T) {
	t.Parallel()
	nft, scripts := fakeNft(t)
	forgotten := 0
	r := Redirect{Nft: nft, Log: slog.New(slog.DiscardHandler), Forget: func(_ context.Context, b map[netip.AddrPort][]netip.AddrPort) error {
		forgotten++
		return nil
	}}
	l, other := dual(), dual()
	other.Servers = other.Servers[:1]
	now := unknown
	step := func(have, want Lead, ok bool, wantState state, wantScript string, wantForgotten int) {
		t.Helper()
		forgotten = 0
		before := len(scripts())
		var err error
		if now, err = r.step(t.Context(), now, have, want, ok); err != nil || now != wantState {
			t.Errorf("state %d, %v, want %d", now, err, wantState)
		}
		got := strings.Join(scripts()[before:], "---\n")
		if got != wantScript || forgotten != wantForgotten {
			t.Errorf("wrote\n%s\nwant\n%s\nand forgot %d times, want %d", got, wantScript, forgotten, wantForgotten)
		}
	}
	step(Lead{}, Lead{}, false, absent, emptyTable(), 0) // what an earlier program left
	step(Lead{}, Lead{}, false, absent, "", 0)
	step(Lead{}, l, true, present, l.script(), 1)
	step(l, l, true, present, l.serving(), 0)
	step(l, other, true, present, other.script(), 1)
	step(other, Lead{}, false, absent, emptyTable(), 1)
	broken := filepath.Join(filepath.Dir(nft), "broken")
	if err := os.WriteFile(broken, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if state, err := r.step(t.Context(), absent, Lead{}, l, true); err == nil || state != unknown || !strings.Contains(err.Error(), "Error: broken") {
		t.Errorf("with a broken nft: state %d, %v", state, err)
	}
	// The table is gone: not an error, but made anew at once.
	if state, err := r.step(t.Context(), present, l, l, true); err != nil || state != unknown {
		t.Errorf("without the table: state %d, %v", state, err)
	}
}

// A program that ends shuts the gate, and leaves the way through the host.
func TestRedirectEnd(t *testing.T) {
	t.Parallel()
	nft, scripts := fakeNft(t)
	ctx, cancel := context.WithCancel(t.Context())
	shut := false
	r := Redirect{Nft: nft, Log: slog.New(slog.DiscardHandler), Forget: func(_ context.Context, b map[netip.AddrPort][]netip.AddrPort) error {
		to := b[at("10.244.0.9:53")]
		shut = len(to) == 1 // the server itself, no longer the proxy
		cancel()
		return nil
	}}
	if err := r.Run(ctx, func() (Lead, bool) { return dual(), true }, nil); err != nil {
		t.Fatal(err)
	}
	all := scripts()
	if len(all) != 2 || all[0] != dual().script() || all[1] != "flush set inet ovnkctl-dns serving\n" || !shut {
		t.Errorf("wrote %q, connections forgotten: %v", all, shut)
	}
}

// The kernel takes every script, over and over, and the gate's time begins anew.
func TestRedirectReal(t *testing.T) {
	t.Parallel()
	path, err := exec.LookPath("nft")
	if err != nil || os.Getuid() != 0 {
		t.Skip("needs nft, and root for a network namespace")
	}
	// unshare makes a namespace that ends with the shell.
	four, six := dual(), dual()
	four.Proxy, four.Subnets = four.Proxy[:1], four.Subnets[:1]
	six.Proxy, six.Subnets, six.Servers = six.Proxy[1:], six.Subnets[1:], nil
	for name, l := range map[string]Lead{"dual": dual(), "IPv4": four, "IPv6 without servers": six} {
		script := strings.Join([]string{emptyTable(), l.script(), l.serving(), l.script(), "flush set inet " + table + " serving\n", l.serving(), l.script()}, "")
		cmd := exec.CommandContext(t.Context(), "unshare", "--net", "sh", "-c", path+" -f - && "+path+" list table inet "+table)
		cmd.Stdin = strings.NewReader(script)
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), fmt.Sprintf("%q timeout %ds", l.Device, int(gateLease.Seconds()))) {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
}

// That no server answers is told once, and that one does again, too.
func TestTrouble(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var told []error
		tr := trouble{tell: func(err error) { told = append(told, err) }}
		for range 3 {
			tr.seen(errNoServer)
			<-time.After(patience / 2) // of the bubble
		}
		tr.seen(errNoServer)
		tr.seen(errNoServer)
		tr.seen(nil)
		tr.seen(nil)
		tr.seen(errNoServer)
		tr.seen(nil)
		if len(told) != 2 || !errors.Is(told[0], errNoServer) || told[1] != nil {
			t.Errorf("told %v", told)
		}
	})
}
