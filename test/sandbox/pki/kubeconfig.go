package pki

import (
	"encoding/base64"
	"fmt"
	"os"

	"sigs.k8s.io/yaml"
)

// Kubeconfig writes a kubeconfig that logs in with the named certificate.
// It is written by rename: a kubelet may be reading the old one.
func (a *Authority) Kubeconfig(path, name, server string) error {
	var data [3]string
	for i, f := range []string{a.CertFile("ca"), a.CertFile(name), a.KeyFile(name)} {
		b, err := os.ReadFile(f)
		if err != nil {
			return fmt.Errorf("kubeconfig of %s: %w", name, err)
		}
		data[i] = base64.StdEncoding.EncodeToString(b)
	}
	type m = map[string]any
	out, err := yaml.Marshal(m{
		"apiVersion": "v1", "kind": "Config", "current-context": "sandbox",
		"clusters": []m{{"name": "sandbox", "cluster": m{"server": server, "certificate-authority-data": data[0]}}},
		"users":    []m{{"name": name, "user": m{"client-certificate-data": data[1], "client-key-data": data[2]}}},
		"contexts": []m{{"name": "sandbox", "context": m{"cluster": "sandbox", "user": name}}},
	})
	if err != nil {
		return fmt.Errorf("kubeconfig of %s: %w", name, err)
	}
	if err := os.WriteFile(path+".new", out, 0o600); err != nil {
		return fmt.Errorf("kubeconfig of %s: %w", name, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("kubeconfig of %s: %w", name, err)
	}
	return nil
}
