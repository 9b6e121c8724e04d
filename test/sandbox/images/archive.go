package images

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// run is how an image is started.
type run struct {
	Entrypoint, Cmd []string
	User            string
}

// named is an image with all of its names.
type named struct {
	Names []string
	Image v1.Image
}

// assemble stacks layers into an OCI image without a date, so that the same
// content has the same digest.
func assemble(r run, layers ...v1.Layer) (v1.Image, error) {
	img := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	img = mutate.ConfigMediaType(img, types.OCIConfigJSON)
	img, err := mutate.AppendLayers(img, layers...)
	if err != nil {
		return nil, fmt.Errorf("image layers: %w", err)
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("image configuration: %w", err)
	}
	cfg = cfg.DeepCopy()
	cfg.Architecture, cfg.OS, cfg.Created = runtime.GOARCH, "linux", v1.Time{Time: time.Unix(0, 0).UTC()}
	cfg.History = nil
	cfg.Config = v1.Config{
		Entrypoint: r.Entrypoint, Cmd: r.Cmd, User: r.User, WorkingDir: "/",
		Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
	}
	if img, err = mutate.ConfigFile(img, cfg); err != nil {
		return nil, fmt.Errorf("image configuration: %w", err)
	}
	return img, nil
}

// archive writes images as an OCI layout tar, which containerd and podman
// import. Blobs in omit are left out: the receiver has them.
func archive(w io.Writer, images []named, omit map[v1.Hash]bool) error {
	a := &archiver{tw: tar.NewWriter(w), done: map[v1.Hash]bool{}}
	for h := range omit {
		a.done[h] = true
	}
	if err := a.file("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)); err != nil {
		return fmt.Errorf("image archive: %w", err)
	}
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	for _, n := range images {
		desc, err := a.image(n.Image)
		if err != nil {
			return fmt.Errorf("image archive: %s: %w", n.Names[0], err)
		}
		for _, name := range n.Names {
			d := desc
			d.Annotations = map[string]string{
				"io.containerd.image.name":          name,
				"org.opencontainers.image.ref.name": name[strings.LastIndexByte(name, ':')+1:],
			}
			index.Manifests = append(index.Manifests, d)
		}
	}
	data, err := json.Marshal(index)
	if err != nil {
		return fmt.Errorf("image archive: %w", err)
	}
	if err := a.file("index.json", data); err != nil {
		return fmt.Errorf("image archive: %w", err)
	}
	if err := a.tw.Close(); err != nil {
		return fmt.Errorf("image archive: %w", err)
	}
	return nil
}

type archiver struct {
	tw   *tar.Writer
	done map[v1.Hash]bool
}

func (a *archiver) image(img v1.Image) (v1.Descriptor, error) {
	layers, err := img.Layers()
	if err != nil {
		return v1.Descriptor{}, err
	}
	for _, l := range layers {
		if err := a.layer(l); err != nil {
			return v1.Descriptor{}, err
		}
	}
	config, err := img.RawConfigFile()
	if err != nil {
		return v1.Descriptor{}, err
	}
	configHash, err := img.ConfigName()
	if err != nil {
		return v1.Descriptor{}, err
	}
	if err := a.blob(configHash, config); err != nil {
		return v1.Descriptor{}, err
	}
	manifest, err := img.RawManifest()
	if err != nil {
		return v1.Descriptor{}, err
	}
	digest, err := img.Digest()
	if err != nil {
		return v1.Descriptor{}, err
	}
	if err := a.blob(digest, manifest); err != nil {
		return v1.Descriptor{}, err
	}
	return v1.Descriptor{
		MediaType: types.OCIManifestSchema1, Digest: digest, Size: int64(len(manifest)),
		Platform: &v1.Platform{OS: "linux", Architecture: runtime.GOARCH},
	}, nil
}

func (a *archiver) layer(l v1.Layer) error {
	h, err := l.Digest()
	if err != nil || a.done[h] {
		return err
	}
	size, err := l.Size()
	if err != nil {
		return err
	}
	r, err := l.Compressed()
	if err != nil {
		return err
	}
	defer r.Close() //nolint:errcheck // read only
	a.done[h] = true
	return a.member("blobs/sha256/"+h.Hex, size, r)
}

func (a *archiver) blob(h v1.Hash, data []byte) error {
	if a.done[h] {
		return nil
	}
	a.done[h] = true
	return a.file("blobs/sha256/"+h.Hex, data)
}

func (a *archiver) file(name string, data []byte) error {
	return a.member(name, int64(len(data)), bytes.NewReader(data))
}

func (a *archiver) member(name string, size int64, r io.Reader) error {
	if err := a.tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: size, ModTime: time.Unix(0, 0), Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	_, err := io.Copy(a.tw, r)
	return err
}
