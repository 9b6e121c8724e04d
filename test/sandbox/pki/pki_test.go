package pki

import (
	"crypto/x509"
	"encoding/pem"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func request() Request {
	return Request{
		Name: "node1", CommonName: "system:node:node1", Organization: "system:nodes",
		DNS: []string{"node1"}, IPs: []netip.Addr{netip.MustParseAddr("172.30.250.11"), netip.MustParseAddr("fd30:250::11")},
	}
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestIssuedCertificateVerifies(t *testing.T) {
	t.Parallel()
	a, err := Open(t.TempDir(), now)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Issue(request()); err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(read(t, a.CertFile("node1")))
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(read(t, a.CertFile("ca")))
	for _, name := range []string{"node1", "172.30.250.11", "fd30:250::11"} {
		if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: now}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: "node2", CurrentTime: now}); err == nil {
		t.Error("the certificate of node1 is good for node2")
	}
	client := x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if _, err := cert.Verify(client); err != nil {
		t.Errorf("as a client: %v", err)
	}
	if got := cert.Subject.Organization; len(got) != 1 || got[0] != "system:nodes" {
		t.Errorf("groups %v", got)
	}
}

func TestIssueIsIdempotentAndFollowsTheRequest(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, err := Open(dir, now)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Issue(request()); err != nil {
		t.Fatal(err)
	}
	first := string(read(t, a.CertFile("node1")))
	again, err := Open(dir, now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Issue(request()); err != nil {
		t.Fatal(err)
	}
	if string(read(t, a.CertFile("node1"))) != first {
		t.Error("an unchanged request made a new certificate")
	}
	moved := request()
	moved.IPs = moved.IPs[:1]
	if err := again.Issue(moved); err != nil {
		t.Fatal(err)
	}
	if string(read(t, a.CertFile("node1"))) == first {
		t.Error("a changed address kept the old certificate")
	}
}

func TestForeignCertificateIsReplaced(t *testing.T) {
	t.Parallel()
	one, two := t.TempDir(), t.TempDir()
	for _, d := range []string{one, two} {
		a, err := Open(d, now)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Issue(request()); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"node1.crt", "node1.key"} {
		if err := os.WriteFile(filepath.Join(two, f), read(t, filepath.Join(one, f)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a, err := Open(two, now)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Issue(request()); err != nil {
		t.Fatal(err)
	}
	if string(read(t, a.CertFile("node1"))) == string(read(t, filepath.Join(one, "node1.crt"))) {
		t.Error("a certificate of another authority was kept")
	}
}

func TestDamagedAuthorityIsNamed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, f := range []string{"ca.crt", "ca.key"} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte("torn"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Open(dir, now); err == nil {
		t.Error("a torn authority was accepted")
	}
}

func TestKubeconfigLoads(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, err := Open(dir, now)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Issue(request()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "kubeconfig")
	if err := a.Kubeconfig(path, "node1", "https://[fd30:250::11]:6443"); err != nil {
		t.Fatal(err)
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Host != "https://[fd30:250::11]:6443" || len(cfg.CertData) == 0 || len(cfg.KeyData) == 0 || len(cfg.CAData) == 0 {
		t.Errorf("incomplete: %+v", cfg)
	}
}

func TestServiceAccountKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, err := Open(dir, now)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := a.ServiceAccountKey(); err != nil {
			t.Fatal(err)
		}
	}
	kb, _ := pem.Decode(read(t, a.KeyFile("sa")))
	priv, err := x509.ParsePKCS1PrivateKey(kb.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	pb, _ := pem.Decode(read(t, filepath.Join(dir, "sa.pub")))
	pub, err := x509.ParsePKIXPublicKey(pb.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if !priv.PublicKey.Equal(pub) {
		t.Error("sa.pub does not belong to sa.key")
	}
}
