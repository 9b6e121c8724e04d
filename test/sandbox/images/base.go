package images

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/ovnkctl/ovnkctl/test/sandbox/cache"
	"github.com/ovnkctl/ovnkctl/test/sandbox/proc"
	"github.com/ovnkctl/ovnkctl/test/sandbox/programs"
	"github.com/ovnkctl/ovnkctl/test/sandbox/progress"
)

// suite is the Debian release with OVN 25.03 and OVS 3.5, as in deploy/image/Dockerfile.
const suite = "trixie"

// slimming changes when the rules of what stays out of the layer change.
const slimming = "1"

// Builder makes images from a checkout and finished programs.
type Builder struct {
	Cache    cache.Dir
	Checkout string
	Programs programs.Set
	// Agnhost finds agnhost's source folder; it may have to be downloaded.
	Agnhost func(context.Context) (string, error)
	Log     string
	Note    func(format string, args ...any)
}

// Base is the Debian layer below the product's image.
type Base struct {
	Key   string
	layer fileLayer
}

// name is the image reference of the layer alone.
func (b Base) name() string { return baseRepository + ":" + b.layer.hash.Hex[:12] }

// packages reads the list that the Dockerfile uses, too.
func packages(list []byte) []string {
	var out []string
	sc := bufio.NewScanner(bytes.NewReader(list))
	for sc.Scan() {
		text, _, _ := strings.Cut(sc.Text(), "#")
		if p := strings.TrimSpace(text); p != "" {
			out = append(out, p)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Root returns a Debian root folder with OVN and Open vSwitch, made with
// debootstrap when it is not cached, and the key of its content.
func (b Builder) Root(ctx context.Context) (string, *cache.Key, error) {
	list, err := os.ReadFile(filepath.Join(b.Checkout, "deploy/image/packages.txt"))
	if err != nil {
		return "", nil, fmt.Errorf("packages of the image: %w", err)
	}
	pkgs := packages(list)
	if len(pkgs) == 0 {
		return "", nil, fmt.Errorf("deploy/image/packages.txt names no package")
	}
	key := cache.NewKey(suite, runtime.GOARCH).Add(pkgs...)
	dir, err := b.Cache.Make("rootfs", key, func(dir string) error {
		return b.debootstrap(ctx, pkgs, filepath.Join(dir, "root"))
	})
	if err != nil {
		return "", nil, err
	}
	root := filepath.Join(dir, "root")
	// Tests against real OVN run these programs without the sandbox.
	return root, key, b.Cache.Link(suite+"-root", root)
}

// Base returns the Debian layer.
func (b Builder) Base(ctx context.Context) (Base, error) {
	root, key, err := b.Root(ctx)
	if err != nil {
		return Base{}, err
	}
	key.Add(slimming)
	dir, err := b.Cache.Make("base-layer", key, func(dir string) error {
		b.Note("packing the Debian layer")
		l, err := writeLayer(filepath.Join(dir, "layer.tar"), func(tw *tar.Writer) error { return addTree(tw, root, leftOut) })
		if err != nil {
			return err
		}
		return l.describe()
	})
	if err != nil {
		return Base{}, err
	}
	layer, err := openLayer(filepath.Join(dir, "layer.tar"))
	return Base{Key: key.String(), layer: layer}, err
}

func (b Builder) debootstrap(ctx context.Context, pkgs []string, dir string) error {
	b.Note("debootstrap %s (a few minutes)", suite)
	args := []string{"--variant=minbase", "--include=" + strings.Join(pkgs, ","), suite, dir}
	if m := os.Getenv("DEBOOTSTRAP_MIRROR"); m != "" {
		args = append(args, m)
	}
	log, err := os.OpenFile(b.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("image log: %w", err)
	}
	defer log.Close() //nolint:errcheck // a log
	// Its own namespaces: debootstrap mounts /proc and /sys below the root and
	// starts many processes, and a killed run must leave neither.
	cmd := exec.CommandContext(ctx, "unshare", append([]string{"--mount-proc", "--pid", "--fork", "--kill-child", "nice", "-n", "5", "debootstrap"}, args...)...)
	cmd.Stdout, cmd.Stderr = log, log
	defer proc.Bind(cmd)()
	if err := cmd.Run(); err != nil {
		return progress.WithLog(fmt.Errorf("debootstrap %s (is the Debian mirror reachable? DEBOOTSTRAP_MIRROR chooses another): %w", suite, err), b.Log)
	}
	return nil
}

// leftOut says what a running container has no use for. Copyright files stay:
// the licences ask for it.
func leftOut(rel string, dir bool) bool {
	if !dir {
		return strings.HasPrefix(rel, "usr/share/doc/") && filepath.Base(rel) != "copyright"
	}
	switch rel {
	case "debootstrap", "usr/share/man", "usr/share/info", "usr/share/locale", "usr/share/i18n", "usr/share/lintian",
		"var/lib/apt/lists", "var/cache/apt", "var/cache/debconf":
		return true
	}
	switch filepath.Dir(rel) {
	case "dev", "proc", "sys", "run", "tmp", "var/log", "boot":
		return true
	}
	return filepath.Base(rel) == "__pycache__"
}
