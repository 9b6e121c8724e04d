// Package pki is the sandbox's certificate authority: one CA, a serving or
// client certificate per component, the ServiceAccount key, and kubeconfigs.
// Everything is made once and reused, so that a repaired cluster keeps the
// identities that its etcd knows.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// validity outlives any sandbox; a sandbox that fails because it is a year old helps nobody.
const validity = 10 * 365 * 24 * time.Hour

// Authority issues certificates into a folder.
type Authority struct {
	dir  string
	now  time.Time
	cert *x509.Certificate
	key  crypto.Signer
}

// Request says what a certificate is for.
type Request struct {
	Name         string // file name without .crt and .key
	CommonName   string
	Organization string // group of a client, "" for none
	DNS          []string
	IPs          []netip.Addr
}

// Open loads the authority of a folder or makes it.
func Open(dir string, now time.Time) (*Authority, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("certificate folder: %w", err)
	}
	a := &Authority{dir: dir, now: now}
	cert, key, err := load(a.CertFile("ca"), a.KeyFile("ca"))
	if err == nil {
		a.cert, a.key = cert, key
		return a, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	a.key = priv
	a.cert = &x509.Certificate{
		Subject:  pkix.Name{CommonName: "sandbox-ca"},
		IsCA:     true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
	}
	der, err := a.sign(a.cert, priv)
	if err != nil {
		return nil, err
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	return a, a.write("ca", der, priv)
}

// CertFile is the path of a certificate.
func (a *Authority) CertFile(name string) string { return filepath.Join(a.dir, name+".crt") }

// KeyFile is the path of a private key.
func (a *Authority) KeyFile(name string) string { return filepath.Join(a.dir, name+".key") }

// Issue makes the certificate unless one that fits the request exists.
func (a *Authority) Issue(r Request) error {
	if cert, _, err := load(a.CertFile(r.Name), a.KeyFile(r.Name)); err == nil && fits(cert, r) && cert.CheckSignatureFrom(a.cert) == nil {
		return nil
	}
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("certificate %s: %w", r.Name, err)
	}
	tmpl := &x509.Certificate{
		Subject: pkix.Name{CommonName: r.CommonName}, DNSNames: r.DNS,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if r.Organization != "" {
		tmpl.Subject.Organization = []string{r.Organization}
	}
	for _, ip := range r.IPs {
		tmpl.IPAddresses = append(tmpl.IPAddresses, net.IP(ip.AsSlice()))
	}
	der, err := a.sign(tmpl, priv)
	if err != nil {
		return fmt.Errorf("certificate %s: %w", r.Name, err)
	}
	return a.write(r.Name, der, priv)
}

// ServiceAccountKey makes the RSA key pair that signs ServiceAccount tokens:
// sa.key and sa.pub.
func (a *Authority) ServiceAccountKey() error {
	pub := filepath.Join(a.dir, "sa.pub")
	if _, err := os.Stat(pub); err == nil {
		return nil
	}
	priv, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return fmt.Errorf("ServiceAccount key: %w", err)
	}
	der, err := x509.MarshalPKIXPublicKey(&priv.PublicKey)
	if err != nil {
		return fmt.Errorf("ServiceAccount key: %w", err)
	}
	key := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(priv)})
	if err := os.WriteFile(a.KeyFile("sa"), key, 0o600); err != nil {
		return fmt.Errorf("ServiceAccount key: %w", err)
	}
	// The public half goes last: its presence says that both are complete.
	if err := os.WriteFile(pub, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
		return fmt.Errorf("ServiceAccount key: %w", err)
	}
	return nil
}

func (a *Authority) sign(tmpl *x509.Certificate, priv *ecdsa.PrivateKey) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("certificate serial: %w", err)
	}
	tmpl.SerialNumber = serial
	// A little in the past: containers and clocks may disagree by seconds.
	tmpl.NotBefore, tmpl.NotAfter = a.now.Add(-time.Hour), a.now.Add(validity)
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &priv.PublicKey, a.key)
	if err != nil {
		return nil, fmt.Errorf("certificate %s: %w", tmpl.Subject.CommonName, err)
	}
	return der, nil
}

func (a *Authority) write(name string, der []byte, priv *ecdsa.PrivateKey) error {
	key, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		return fmt.Errorf("key of %s: %w", name, err)
	}
	if err := os.WriteFile(a.KeyFile(name), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600); err != nil {
		return fmt.Errorf("key of %s: %w", name, err)
	}
	if err := os.WriteFile(a.CertFile(name), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		return fmt.Errorf("certificate %s: %w", name, err)
	}
	return nil
}

func fits(c *x509.Certificate, r Request) bool {
	if c.Subject.CommonName != r.CommonName || !slices.Equal(c.DNSNames, r.DNS) || len(c.IPAddresses) != len(r.IPs) {
		return false
	}
	for i, ip := range r.IPs {
		if !c.IPAddresses[i].Equal(net.IP(ip.AsSlice())) {
			return false
		}
	}
	return r.Organization == "" || slices.Contains(c.Subject.Organization, r.Organization)
}

func load(certFile, keyFile string) (*x509.Certificate, crypto.Signer, error) {
	certPEM, err := os.ReadFile(certFile)
	if err != nil {
		return nil, nil, err
	}
	keyPEM, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, nil, err
	}
	cb, _ := pem.Decode(certPEM)
	kb, _ := pem.Decode(keyPEM)
	if cb == nil || kb == nil {
		return nil, nil, fmt.Errorf("%s or %s is not PEM: remove both to make new ones", certFile, keyFile)
	}
	cert, err := x509.ParseCertificate(cb.Bytes)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", certFile, err)
	}
	key, err := x509.ParsePKCS8PrivateKey(kb.Bytes)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", keyFile, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, nil, fmt.Errorf("%s: not a signing key", keyFile)
	}
	return cert, signer, nil
}
