package dialer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// selfSigned is a certificate that nobody knows, for the name that is asked for.
func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"example.com"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestRemember(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "made", "api-servers.json")
	if err := New(Config{File: file}).SetEndpoints(endpoints(server3, server2)); err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]os.FileMode{file: 0o600, filepath.Dir(file): 0o700 | os.ModeDir} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != mode {
			t.Errorf("%s has mode %s", path, info.Mode())
		}
	}
	again := New(Config{File: file, Service: service})
	got := again.Candidates()
	slices.Sort(got[:2])
	if diff := cmp.Diff([]string{server2, server3, service}, got); diff != "" {
		t.Error(diff)
	}
	before, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.SetEndpoints(endpoints(server2, server3)); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(file); err != nil || !os.SameFile(before, after) {
		t.Errorf("the same endpoints were written again: %v", err)
	}
	if left, err := os.ReadDir(filepath.Dir(file)); err != nil || len(left) != 1 {
		t.Errorf("left in the folder: %v, %v", left, err)
	}
}

func TestBadMemory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{"cut": `{"apiServers":["192.0`, "other": `[]`, "address": `{"apiServers":["nonsense"]}`} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		d := New(Config{File: file, Service: service})
		if diff := cmp.Diff([]string{service}, d.Candidates()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if err := d.SetEndpoints(endpoints(server2)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got, err := load(file); err != nil || !slices.Equal(got, endpoints(server2)) {
			t.Errorf("%s: read back %v, %v", name, got, err)
		}
	}
	// A disk that takes no file costs the memory, not the connection.
	d := New(Config{File: filepath.Join(dir, "cut", "below-a-file")})
	if err := d.SetEndpoints(endpoints(server2)); err == nil || !strings.HasPrefix(err.Error(), "remember the API servers: ") {
		t.Errorf("%v", err)
	}
	if got := d.Candidates(); !slices.Equal(got, []string{server2}) {
		t.Errorf("%v", got)
	}
}
