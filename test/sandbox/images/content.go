package images

import (
	"archive/tar"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// content builds every image that a node has from its start, in a work folder.
func (b Builder) content(ctx context.Context, base Base, borrowedPrograms []program, work string) ([]named, error) {
	pause := filepath.Join(work, "pause")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", pause, "./test/sandbox/pause")
	cmd.Dir, cmd.Env = b.Checkout, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build pause: %w: %s", err, out)
	}
	var out []named
	for _, s := range []struct {
		name, file string
		user       string
	}{
		{Pause, pause, "65535:65535"},
		{CoreDNS, b.Programs.Path("coredns"), ""},
		{regression, b.Programs.Path("regression-issue-74839"), ""},
	} {
		n, err := single(work, s.name, s.file, s.user)
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	baseImage, err := assemble(run{}, base.layer)
	if err != nil {
		return nil, err
	}
	out = append(out, named{Names: []string{base.name()}, Image: baseImage})
	for _, t := range []struct {
		dir   string
		names []string
		run   run
		fill  func(root) error
	}{
		{"busybox", []string{Busybox, "docker.io/library/busybox:latest"}, run{Cmd: []string{"sh"}}, func(r root) error { return r.busybox(ctx) }},
		{"agnhost", []string{Agnhost, agnhostOld, agnhostAPI}, run{Entrypoint: []string{"/agnhost"}, Cmd: []string{"pause"}}, func(r root) error { return b.agnhost(ctx, r, borrowedPrograms) }},
		{"dns", []string{dnsTesting}, run{Cmd: []string{"bash"}}, func(r root) error { return dnsTools(ctx, r, borrowedPrograms) }},
		// The specs that name it need a pod that runs, and no more.
		{"nginx", []string{nginx}, run{Entrypoint: []string{"/agnhost"}, Cmd: []string{"netexec", "--http-port=80"}}, func(r root) error { return r.copy(b.Programs.Path("agnhost"), "agnhost") }},
	} {
		b.Note("image %s", t.names[0])
		n, err := tree(work, t.dir, t.fill, t.run)
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", t.names[0], err)
		}
		n.Names = t.names
		out = append(out, n)
	}
	return out, nil
}

// single is an image with one static program at its root.
func single(work, name, file, user string) (named, error) {
	base := filepath.Base(file)
	l, err := writeLayer(filepath.Join(work, base+".layer.tar"), func(tw *tar.Writer) error { return addFile(tw, base, file) })
	if err != nil {
		return named{}, err
	}
	img, err := assemble(run{Entrypoint: []string{"/" + base}, User: user}, l)
	return named{Names: []string{name}, Image: img}, err
}

// tree is an image with a whole root folder.
func tree(work, dir string, fill func(root) error, r run) (named, error) {
	fs := root(filepath.Join(work, dir))
	if err := fs.skeleton(); err != nil {
		return named{}, err
	}
	if err := fill(fs); err != nil {
		return named{}, err
	}
	var l v1.Layer
	l, err := writeLayer(filepath.Join(work, dir+".layer.tar"), func(tw *tar.Writer) error { return addTree(tw, string(fs), nil) })
	if err != nil {
		return named{}, err
	}
	img, err := assemble(r, l)
	return named{Image: img}, err
}

// agnhost is the test program with the tools that the tests call beside it.
func (b Builder) agnhost(ctx context.Context, r root, tools []program) error {
	if err := r.borrow(tools); err != nil {
		return err
	}
	if err := os.Symlink("nc.openbsd", r.path("usr/bin/nc")); err != nil {
		return err
	}
	if err := r.busybox(ctx); err != nil {
		return err
	}
	if err := r.shell(); err != nil {
		return err
	}
	if err := r.copy(b.Programs.Path("agnhost"), "agnhost"); err != nil {
		return err
	}
	if err := os.Symlink("agnhost", r.path("agnhost-2")); err != nil {
		return err
	}
	// DNS servers of the DNS specs are agnhost pods with this program.
	if err := r.copy(b.Programs.Path("coredns"), "coredns"); err != nil {
		return err
	}
	source, err := b.Agnhost(ctx)
	if err != nil {
		return err
	}
	for _, f := range []string{"localhost.crt", "localhost.key"} {
		if err := r.copy(filepath.Join(source, "porter", f), f); err != nil {
			return err
		}
	}
	return os.MkdirAll(r.path("uploads"), 0o755)
}

// dnsTools is what the DNS tests exec.
func dnsTools(ctx context.Context, r root, tools []program) error {
	if err := r.borrow(tools, "dash", "bash", "dig", "getent", "hostname", "curl"); err != nil {
		return err
	}
	if err := r.busybox(ctx); err != nil {
		return err
	}
	return r.shell()
}
