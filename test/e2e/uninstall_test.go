//go:build e2e

package e2e

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestUninstallGivesTheHostsBack comes last, because pods have no network after it: it takes
// the network off the cluster and looks at what the hosts are left with.
func TestUninstallGivesTheHostsBack(t *testing.T) {
	c := open(t)
	nodes := c.nodes(t)
	kubeconfig := filepath.Join(c.root, ".sandbox", "kubeconfig")
	out, err := exec.CommandContext(t.Context(), filepath.Join(c.root, "bin", "ovnkctl"), "uninstall", "--yes", "--kubeconfig", kubeconfig).CombinedOutput()
	if err != nil {
		t.Fatalf("ovnkctl uninstall: %v\n%s", err, out)
	}
	until(t, "namespace "+system+" gone", func(ctx context.Context) error {
		_, err := c.CoreV1().Namespaces().Get(ctx, system, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			return nil
		case err != nil:
			return err
		}
		return errors.New("it is still there")
	})
	for _, name := range nodes {
		node, err := c.CoreV1().Nodes().Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for key := range node.Annotations {
			if strings.HasPrefix(key, "k8s.ovn.org/") {
				t.Errorf("%s still has annotation %s", name, key)
			}
		}
		eth0 := c.onNode(t, name, "ip", "-br", "address", "show", "dev", "eth0")
		for _, a := range node.Status.Addresses {
			if a.Type == "InternalIP" && !strings.Contains(eth0, a.Address+"/") {
				t.Errorf("%s: address %s is not back on eth0: %s", name, a.Address, eth0)
			}
		}
		links := c.onNode(t, name, "ip", "-br", "link")
		for _, ours := range []string{"br-ex", "br-int", "ovn-k8s-mp0"} {
			if strings.Contains(links, ours) {
				t.Errorf("%s still has link %s", name, ours)
			}
		}
		if tables := c.onNode(t, name, "nft", "list", "tables"); strings.TrimSpace(tables) != "" {
			t.Errorf("%s still has nftables %s", name, tables)
		}
		if routes := c.onNode(t, name, "sh", "-c", "ip route show proto 85; ip -6 route show proto 85"); strings.TrimSpace(routes) != "" {
			t.Errorf("%s still has routes %s", name, routes)
		}
		if files := c.onNode(t, name, "ls", "/etc/cni/net.d"); strings.Contains(files, "ovn") {
			t.Errorf("%s still has CNI configuration %s", name, files)
		}
		c.onNode(t, name, "curl", "-sSk", "-m", "5", "-o", "/dev/null", c.rest.Host+"/livez")
	}
}
