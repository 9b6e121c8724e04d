package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/ovnkctl/ovnkctl/test/sandbox/cache"
	"github.com/ovnkctl/ovnkctl/test/sandbox/proc"
	"github.com/ovnkctl/ovnkctl/test/sandbox/progress"
)

// recipe changes when the images' content changes otherwise than by its files.
const recipe = "4"

// namespace is containerd's namespace of Kubernetes.
const namespace = "k8s.io"

// Store returns a containerd folder with all images imported and unpacked. A
// node starts with a copy of it: importing costs each node many seconds.
func (b Builder) Store(ctx context.Context, base Base) (string, error) {
	tools, err := findPrograms(ctx, borrowed...)
	if err != nil {
		return "", err
	}
	version, err := exec.CommandContext(ctx, "containerd", "--version").Output()
	if err != nil {
		return "", fmt.Errorf("containerd: %w", err)
	}
	key := cache.NewKey(recipe, base.Key, b.Programs.Key, string(version))
	if err := addTo(key, tools); err != nil {
		return "", err
	}
	if err := key.AddFile(filepath.Join(b.Checkout, "test/sandbox/pause/main.go")); err != nil {
		return "", err
	}
	dir, err := b.Cache.Make("containerd", key, func(dir string) error {
		// Inside the entry: what a killed run leaves goes with its half entry.
		work := filepath.Join(dir, "work")
		if err := os.Mkdir(work, 0o755); err != nil {
			return fmt.Errorf("work folder: %w", err)
		}
		images, err := b.content(ctx, base, tools, work)
		if err != nil {
			return err
		}
		b.Note("unpacking %d images", len(images))
		if err := b.prepare(ctx, filepath.Join(dir, "root"), images); err != nil {
			return err
		}
		return os.RemoveAll(work)
	})
	return filepath.Join(dir, "root"), err
}

// preparation is where the containerd that prepares a folder has its socket: a
// short path, as sockets need.
const preparation = "/run/ovnksb-images"

// prepare runs a containerd without Kubernetes' part on the folder and imports into it.
func (b Builder) prepare(ctx context.Context, dir string, images []named) error {
	work := preparation
	if err := errors.Join(os.RemoveAll(work), os.MkdirAll(work, 0o700)); err != nil {
		return fmt.Errorf("prepare images: %w", err)
	}
	defer os.RemoveAll(work) //nolint:errcheck // the next run removes it first
	socket := filepath.Join(work, "containerd.sock")
	config := filepath.Join(work, "config.toml")
	text := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\n  address = %q\n",
		dir, filepath.Join(work, "state"), socket)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return fmt.Errorf("containerd configuration: %w", err)
	}
	logPath := b.Log
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("image log: %w", err)
	}
	defer log.Close() //nolint:errcheck // a log
	// In a mount namespace of its own: unpacking mounts every layer. It dies
	// with this process, however that ends.
	cmd := exec.Command("unshare", "--mount", "containerd", "--config", config)
	cmd.Stdout, cmd.Stderr = log, log
	defer proc.Bind(cmd)()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("containerd: %w", err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }() // it is ended by signal; its log says more
	err = func() error {
		if err := waitSocket(ctx, socket, ended); err != nil {
			return progress.WithLog(err, logPath)
		}
		return Import(ctx, socket, logPath, func(w io.Writer) error { return archive(w, images, nil) })
	}()
	// SIGTERM, so that its databases are closed well.
	if kerr := cmd.Process.Signal(syscall.SIGTERM); kerr != nil && !errors.Is(kerr, os.ErrProcessDone) {
		err = errors.Join(err, kerr)
	}
	<-ended
	return err
}

// waitSocket waits until a containerd answers.
func waitSocket(ctx context.Context, socket string, ended <-chan struct{}) error {
	deadline := time.After(30 * time.Second)
	for {
		select {
		case <-ended:
			return errors.New("containerd ended while images were prepared")
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline:
			return errors.New("containerd does not answer after 30 s")
		case <-time.After(50 * time.Millisecond):
		}
		if exec.CommandContext(ctx, "ctr", "-a", socket, "version").Run() == nil {
			return nil
		}
	}
}

// Import streams an image archive into the containerd behind a socket.
func Import(ctx context.Context, socket, logPath string, write func(io.Writer) error) error {
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("import log: %w", err)
	}
	defer log.Close() //nolint:errcheck // a log
	cmd := exec.CommandContext(ctx, "ctr", "-a", socket, "-n", namespace, "images", "import", "-")
	cmd.Stdout, cmd.Stderr = log, log
	in, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("import images: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("import images: %w", err)
	}
	werr := write(in)
	cerr := in.Close()
	if err := cmd.Wait(); err != nil {
		return progress.WithLog(fmt.Errorf("import images: %w", err), logPath)
	}
	return errors.Join(werr, cerr)
}

// Names lists the image references in the containerd behind a socket.
func Names(ctx context.Context, socket string) ([]string, error) {
	out, err := exec.CommandContext(ctx, "ctr", "-a", socket, "-n", namespace, "images", "ls", "-q").Output()
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	return strings.Fields(string(out)), nil
}

// Clone gives a node its own containerd folder. Layers and blobs are never
// written in place, so they are hard links where the file system allows it;
// databases are copied.
func Clone(store, dir string) error {
	work := dir + ".new"
	if err := os.RemoveAll(work); err != nil {
		return fmt.Errorf("containerd folder: %w", err)
	}
	err := filepath.WalkDir(store, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(store, path)
		if err != nil {
			return err
		}
		return cloneEntry(path, filepath.Join(work, rel), d, isDatabase(rel))
	})
	if err != nil {
		return fmt.Errorf("containerd folder: %w", err)
	}
	if err := os.Rename(work, dir); err != nil {
		return fmt.Errorf("containerd folder: %w", err)
	}
	return nil
}

// isDatabase tells containerd's own databases, PLUGIN/NAME.db, from files of
// that name in images.
func isDatabase(rel string) bool {
	return filepath.Ext(rel) == ".db" && strings.Count(rel, "/") == 1
}

func cloneEntry(from, to string, d fs.DirEntry, database bool) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	switch {
	case d.IsDir():
		if err := os.MkdirAll(to, 0o700); err != nil {
			return err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return errors.New("no owner information on this system")
		}
		if err := os.Chown(to, int(st.Uid), int(st.Gid)); err != nil {
			return err
		}
		// After chown, which would drop special bits.
		return os.Chmod(to, info.Mode())
	case database:
		return copyFile(from, to, info.Mode())
	default:
		err := os.Link(from, to)
		if errors.Is(err, syscall.EXDEV) {
			return copyAcross(from, to, info)
		}
		return err
	}
}

// copyAcross copies an entry to another file system.
func copyAcross(from, to string, info fs.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return errors.New("no owner information on this system")
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		if err := os.Symlink(target, to); err != nil {
			return err
		}
		return os.Lchown(to, int(st.Uid), int(st.Gid))
	}
	if err := copyFile(from, to, info.Mode()); err != nil {
		return err
	}
	if err := os.Chown(to, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	return os.Chmod(to, info.Mode())
}

func copyFile(from, to string, mode fs.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck // read only
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode.Perm())
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		return errors.Join(err, out.Close())
	}
	return out.Close()
}

// digestOf is short for the places where an image without one cannot be.
func digestOf(img v1.Image) (v1.Hash, error) {
	h, err := img.Digest()
	if err != nil {
		return v1.Hash{}, fmt.Errorf("image digest: %w", err)
	}
	return h, nil
}
