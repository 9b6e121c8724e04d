// Package cni is what a container runtime looks for on a node: the network
// configuration and the plugin binary. The parts that do the work are below it:
//
//	runtime ──exec──> shim ──wire, unix socket──> server ──> plumb  (veth, addresses, routes)
//	                                                └──────> port   (rows of the Open_vSwitch database)
package cni

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/ovnkctl/ovnkctl/internal/cni/wire"
)

const (
	// PluginType is the name of the plugin binary and its type in the configuration.
	PluginType = "ovn-k8s-cni-overlay"
	// ConfName is the file that makes a node ready in the eyes of the kubelet.
	ConfName = "10-ovn-kubernetes.conflist"
	// NetworkName is the name of the network in the configuration.
	NetworkName = "ovn-kubernetes"
)

// Conf is what goes into the network configuration.
type Conf struct {
	Dir     string // e.g. /etc/cni/net.d
	Version string // CNI version, e.g. 1.0.0; containerd 1.6 refuses every pod at 1.1.0
	Socket  string // of the node's CNI server
}

// Path is the file that Write makes.
func (c Conf) Path() string { return filepath.Join(c.Dir, ConfName) }

// Write makes the configuration appear at once and whole: runtimes read the directory on every
// event. It is the signal that the node can take pods, so it comes last. A file
// that is right already is left alone.
func (c Conf) Write() error {
	content, err := c.encode()
	if err != nil {
		return err
	}
	if old, err := os.ReadFile(c.Path()); err == nil && bytes.Equal(old, content) {
		return nil
	}
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return fmt.Errorf("CNI configuration: %w", err)
	}
	if err := replace(c.Path(), bytes.NewReader(content), 0o600); err != nil {
		return fmt.Errorf("CNI configuration: %w", err)
	}
	return nil
}

// Remove takes the configuration away, so that the node takes no more pods.
func (c Conf) Remove() error {
	if err := os.Remove(c.Path()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("CNI configuration: %w", err)
	}
	return nil
}

func (c Conf) encode() ([]byte, error) {
	if !slices.Contains(wire.Versions, c.Version) {
		return nil, fmt.Errorf("CNI configuration: version %q is not one of %v", c.Version, wire.Versions)
	}
	list := map[string]any{
		"cniVersion": c.Version,
		"name":       NetworkName,
		"plugins": []map[string]any{{
			"type":   PluginType,
			"socket": c.Socket,
		}},
	}
	content, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("CNI configuration: %w", err)
	}
	return append(content, '\n'), nil
}

// InstallShim copies the plugin binary into the runtime's plugin directory, in one
// step so that a runtime never starts half a file, and only if the content differs.
func InstallShim(source, binDir string) error {
	target := filepath.Join(binDir, PluginType)
	from, err := os.Open(source)
	if err != nil {
		return fmt.Errorf("CNI plugin: %w", err)
	}
	defer func() { _ = from.Close() }()
	if same(from, target) {
		return nil
	}
	if _, err := from.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("CNI plugin: %w", err)
	}
	if err := os.MkdirAll(binDir, 0o755); err != nil {
		return fmt.Errorf("CNI plugin: %w", err)
	}
	if err := replace(target, from, 0o755); err != nil {
		return fmt.Errorf("CNI plugin: %w", err)
	}
	return nil
}

// same compares content and mode without reading more than it must.
func same(from *os.File, target string) bool {
	to, err := os.Open(target)
	if err != nil {
		return false
	}
	defer func() { _ = to.Close() }()
	a, errA := from.Stat()
	b, errB := to.Stat()
	if errA != nil || errB != nil || a.Size() != b.Size() || b.Mode().Perm() != 0o755 {
		return false
	}
	var x, y [64 << 10]byte
	for {
		n, errX := io.ReadFull(from, x[:])
		m, errY := io.ReadFull(to, y[:])
		if n != m || !bytes.Equal(x[:n], y[:m]) {
			return false
		}
		if errX != nil || errY != nil {
			return n < len(x) && m < len(y)
		}
	}
}

// replace writes beside the target and renames, and leaves no file behind on failure.
func replace(target string, content io.Reader, mode os.FileMode) (err error) {
	// Runtimes ignore names that end in none of .conf, .conflist and .json. The name is
	// always the same, so that what a killed process left is written over.
	temporary := filepath.Join(filepath.Dir(target), "."+filepath.Base(target)+".tmp")
	f, err := os.OpenFile(temporary, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temporary)
		}
	}()
	if _, err = io.Copy(f, content); err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return os.Rename(temporary, target)
}
