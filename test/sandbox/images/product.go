package images

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/ovnkctl/ovnkctl/test/sandbox/progress"
)

// Places of the programs in the image; deploy/image/Dockerfile says the same.
const (
	programPlace = "usr/bin/ovnkctl"
	shimPlace    = "usr/libexec/ovnkctl/ovn-k8s-cni-overlay"
)

// devTag is the tag that always means the last build.
const devTag = "dev"

// Product is the image of ovnkctl: the Debian layer and a thin one with its programs.
type Product struct {
	Tag  string // by content, so that a new build is a new image to Kubernetes
	base Base
	img  v1.Image
}

// Name is the full reference.
func (p Product) Name() string { return Repository + ":" + p.Tag }

// Build compiles the programs into bin/ of the checkout, with the flags of
// `make build`: what is up to date is not linked again.
func (b Builder) Build(ctx context.Context) error {
	version := "dev"
	describe := exec.CommandContext(ctx, "git", "describe", "--tags", "--always", "--dirty")
	describe.Dir = b.Checkout
	if out, err := describe.Output(); err == nil {
		version = strings.TrimSpace(string(out))
	}
	ldflags := "-s -w -X github.com/ovnkctl/ovnkctl/internal/version.Version=" + version
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", ldflags, "-o", "bin/", "./cmd/ovnkctl", "./cmd/ovn-k8s-cni-overlay")
	cmd.Dir, cmd.Env = b.Checkout, append(os.Environ(), "CGO_ENABLED=0")
	log, err := os.OpenFile(b.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("image log: %w", err)
	}
	defer log.Close() //nolint:errcheck // a log
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil {
		return progress.WithLog(fmt.Errorf("go build ./cmd/ovnkctl ./cmd/ovn-k8s-cni-overlay: %w", err), b.Log)
	}
	return nil
}

// Product makes the image from the programs in bin/; dir keeps its thin layer.
func (b Builder) Product(base Base, dir string) (Product, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Product{}, fmt.Errorf("image folder: %w", err)
	}
	path := filepath.Join(dir, "programs.layer.tar")
	l, err := writeLayer(path+".new", func(tw *tar.Writer) error {
		if err := addFile(tw, programPlace, filepath.Join(b.Checkout, "bin/ovnkctl")); err != nil {
			return err
		}
		if err := addDir(tw, filepath.Dir(shimPlace)); err != nil {
			return err
		}
		return addFile(tw, shimPlace, filepath.Join(b.Checkout, "bin/ovn-k8s-cni-overlay"))
	})
	if err != nil {
		return Product{}, err
	}
	if err := os.Rename(l.path, path); err != nil {
		return Product{}, fmt.Errorf("image layer: %w", err)
	}
	l.path = path
	if err := l.describe(); err != nil {
		return Product{}, err
	}
	return product(base, l)
}

// LastProduct is the image that an earlier call of Product made.
func LastProduct(base Base, dir string) (Product, error) {
	l, err := openLayer(filepath.Join(dir, "programs.layer.tar"))
	if err != nil {
		return Product{}, err
	}
	return product(base, l)
}

func product(base Base, thin fileLayer) (Product, error) {
	img, err := assemble(run{Entrypoint: []string{"/" + programPlace}}, base.layer, thin)
	if err != nil {
		return Product{}, err
	}
	h, err := digestOf(img)
	if err != nil {
		return Product{}, err
	}
	return Product{Tag: devTag + "-" + h.Hex[:12], base: base, img: img}, nil
}

// Write writes the complete image as an OCI archive.
func (p Product) Write(w io.Writer) error { return p.write(w, nil) }

func (p Product) write(w io.Writer, omit map[v1.Hash]bool) error {
	return archive(w, []named{{Names: []string{p.Name(), Repository + ":" + devTag}, Image: p.img}}, omit)
}

// Load imports the image into the containerd behind a socket, without the
// Debian layer if it is there. Older builds stay until the node goes: pods of Open
// vSwitch outlive upgrades, and a container cannot be restarted without its image.
func (p Product) Load(ctx context.Context, socket, logPath string) error {
	have, err := Names(ctx, socket)
	if err != nil {
		return err
	}
	if slices.Contains(have, p.Name()) {
		return nil
	}
	omit := map[v1.Hash]bool{}
	if slices.Contains(have, p.base.name()) {
		omit[p.base.layer.hash] = true
	}
	return Import(ctx, socket, logPath, func(w io.Writer) error { return p.write(w, omit) })
}
