// Package programs builds what the cluster is made of from the nested module
// test/sandbox/kube: Kubernetes as one multi-call program, CoreDNS, agnhost and
// the end-to-end tests. A cold build takes tens of minutes, so the results are
// cached by the content of everything that goes in.
package programs

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/ovnkctl/ovnkctl/test/sandbox/cache"
	"github.com/ovnkctl/ovnkctl/test/sandbox/proc"
	"github.com/ovnkctl/ovnkctl/test/sandbox/progress"
)

// Names of the multi-call program.
var kubeNames = []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl"}

// Set is a folder with finished programs.
type Set struct {
	Dir string
	Key string
}

// Path is the path of one program.
func (s Set) Path(name string) string { return filepath.Join(s.Dir, name) }

// Builder builds sets.
type Builder struct {
	Cache    cache.Dir
	Checkout string
	Log      string // output of the compiler
	Note     func(format string, args ...any)
}

func (b Builder) module() string { return filepath.Join(b.Checkout, "test/sandbox/kube") }

// AgnhostSource is the folder of agnhost's source in the module cache: its
// image also holds data files.
func (b Builder) AgnhostSource(ctx context.Context) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes")
	cmd.Dir = b.module()
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("source of k8s.io/kubernetes: %w", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "test/images/agnhost"), nil
}

// Cluster returns the programs that a running cluster needs.
func (b Builder) Cluster(ctx context.Context) (Set, error) {
	key, version, err := b.key(ctx, "kubebox/*.go", "coredns/*.go")
	if err != nil {
		return Set{}, err
	}
	dir, err := b.Cache.Make("kube", key, func(dir string) error {
		// kubebox first and alone: everything else shares its packages.
		if err := b.run(ctx, "build", "-v", flagDWARF, "-ldflags", ldflags(version), "-o", dir+"/", "./kubebox"); err != nil {
			return err
		}
		for _, n := range kubeNames {
			if err := os.Symlink("kubebox", filepath.Join(dir, n)); err != nil {
				return fmt.Errorf("program %s: %w", n, err)
			}
		}
		return b.run(ctx, "build", "-v", flagDWARF, "-ldflags", ldflags(version), "-o", dir+"/", "./coredns",
			"k8s.io/kubernetes/test/images/agnhost", "k8s.io/kubernetes/test/images/regression-issue-74839")
	})
	if err != nil {
		return Set{}, err
	}
	// Tests that need only an API server look for the programs here.
	return Set{Dir: dir, Key: key.String()}, b.Cache.Link("kube-current", dir)
}

// Tests returns the end-to-end tests and their runner.
func (b Builder) Tests(ctx context.Context) (Set, error) {
	key, version, err := b.key(ctx)
	if err != nil {
		return Set{}, err
	}
	dir, err := b.Cache.Make("kube-tests", key, func(dir string) error {
		if err := b.run(ctx, "build", "-v", flagDWARF, "-ldflags", ldflags(version), "-o", dir+"/", "github.com/onsi/ginkgo/v2/ginkgo"); err != nil {
			return err
		}
		return b.run(ctx, "test", "-v", "-c", flagDWARF, "-ldflags", ldflags(version), "-o", filepath.Join(dir, "e2e.test"), "k8s.io/kubernetes/test/e2e")
	})
	return Set{Dir: dir, Key: key.String()}, err
}

// Leaving DWARF out saves a fifth of the compile time; -s -w would drop it anyway.
const flagDWARF = "-gcflags=all=-dwarf=false"

// environment makes builds independent of the machine and of the checkout's path.
var environment = []string{"CGO_ENABLED=0", "GOFLAGS=-buildvcs=false -trimpath"}

// ldflags stamps the version that nodes and the server report.
func ldflags(version string) string {
	minor := strings.SplitN(version, ".", 3)[1]
	out := []string{"-s -w"}
	for _, p := range []string{"k8s.io/client-go/pkg/version", "k8s.io/component-base/version"} {
		for _, kv := range [][2]string{
			{"gitVersion", version},
			{"gitMajor", "1"},
			{"gitMinor", minor},
			{"gitCommit", "module"},
			{"gitTreeState", "clean"},
			{"buildDate", "2026-01-01T00:00:00Z"},
		} {
			out = append(out, "-X "+p+"."+kv[0]+"="+kv[1])
		}
	}
	return strings.Join(out, " ")
}

var requireLine = regexp.MustCompile(`(?m)^(?:require\s+|\s+)k8s\.io/kubernetes\s+(v\d+\.\d+\.\d+\S*)`)

// kubernetesVersion reads the version that a go.mod requires.
func kubernetesVersion(gomod []byte) (string, error) {
	m := requireLine.FindSubmatch(gomod)
	if m == nil {
		return "", fmt.Errorf("go.mod of test/sandbox/kube requires no k8s.io/kubernetes")
	}
	return string(m[1]), nil
}

// key covers the module's pins, the given sources, the flags and the compiler.
func (b Builder) key(ctx context.Context, sources ...string) (*cache.Key, string, error) {
	gomod, err := os.ReadFile(filepath.Join(b.module(), "go.mod"))
	if err != nil {
		return nil, "", fmt.Errorf("kube module: %w", err)
	}
	version, err := kubernetesVersion(gomod)
	if err != nil {
		return nil, "", err
	}
	goVersion, err := exec.CommandContext(ctx, "go", "env", "GOVERSION", "GOOS", "GOARCH").Output()
	if err != nil {
		return nil, "", fmt.Errorf("the Go toolchain is needed to build Kubernetes: %w", err)
	}
	key := cache.NewKey(string(gomod), ldflags(version), flagDWARF, string(goVersion)).Add(environment...)
	files := []string{filepath.Join(b.module(), "go.sum")}
	for _, pattern := range sources {
		found, err := filepath.Glob(filepath.Join(b.module(), pattern))
		if err != nil {
			return nil, "", fmt.Errorf("sources of the kube module: %w", err)
		}
		slices.Sort(found)
		files = append(files, found...)
	}
	for _, f := range files {
		if err := key.AddFile(f); err != nil {
			return nil, "", err
		}
	}
	return key, version, nil
}

// run calls the Go tool at low priority, noting the package it is at.
func (b Builder) run(ctx context.Context, args ...string) error {
	log, err := os.OpenFile(b.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("build log: %w", err)
	}
	defer log.Close() //nolint:errcheck // a log
	cmd := exec.CommandContext(ctx, "nice", append([]string{"-n", "5", "go"}, args...)...)
	cmd.Dir = b.module()
	cmd.Env = append(os.Environ(), environment...)
	out, err := cmd.StderrPipe()
	if err != nil {
		return fmt.Errorf("build: %w", err)
	}
	cmd.Stdout = log
	// An orphaned compiler would write into the next run's folder.
	defer proc.Bind(cmd)()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("build: %w", err)
	}
	sc := bufio.NewScanner(io.TeeReader(out, log))
	for n := 1; sc.Scan(); n++ {
		b.Note("%d packages compiled, now %s", n, sc.Text())
	}
	if err := cmd.Wait(); err != nil {
		return progress.WithLog(fmt.Errorf("go %s in %s: %w", args[0], b.module(), err), b.Log)
	}
	return nil
}
