package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"golang.org/x/sync/errgroup"

	"github.com/ovnkctl/ovnkctl/test/sandbox/images"
	"github.com/ovnkctl/ovnkctl/test/sandbox/node"
	"github.com/ovnkctl/ovnkctl/test/sandbox/plan"
	"github.com/ovnkctl/ovnkctl/test/sandbox/progress"
)

// nodesReady bounds the time from the end of the installation to Ready nodes.
const nodesReady = 2 * time.Minute

// installArgs is the installation, or the upgrade, as a user would type it. These are all
// the values that this cluster needs set; everything else is the chart's default.
func installArgs(verb string, p plan.Plan, gatewayMode, kubeconfig, tag string) []string {
	args := []string{verb, "--wait", "--kubeconfig", kubeconfig}
	for _, kv := range [][2]string{
		{"image.repository", images.Repository},
		{"image.tag", tag},
		{"image.pullPolicy", "IfNotPresent"}, // the image is loaded, not pulled
		{"datapath", "netdev"},               // the userspace datapath needs no kernel module
		{"gateway.mode", gatewayMode},
		{"network.clusterSubnets", escapeCommas(p.ClusterSubnets())},
		{"network.serviceSubnets", escapeCommas(plan.Join(p.Services()))},
		{"network.mtu", fmt.Sprint(plan.PodMTU)},
		{"network.enableMulticast", "true"},            // the tests have pods use it
		{"kubernetes.emptyLoadBalancerEvents", "true"}, // changes only what sleeps, and the tests let a service sleep
	} {
		args = append(args, "--set", kv[0]+"="+kv[1])
	}
	return args
}

// escapeCommas: Helm's --set separates values with commas.
func escapeCommas(s string) string {
	out := make([]byte, 0, len(s)+1)
	for i := range len(s) {
		if s[i] == ',' {
			out = append(out, '\\')
		}
		out = append(out, s[i])
	}
	return string(out)
}

// network installs ovnkctl, waits for Ready nodes and proves it with a demo.
func (s *Sandbox) network(ctx context.Context, client kubernetes.Interface) error {
	product, err := s.loadImage(ctx)
	if err != nil {
		return err
	}
	if err := s.out.Do("ovnkctl install", func(p *progress.Phase) error { return s.install(ctx, p, client, product.Tag) }); err != nil {
		return err
	}
	if err := s.out.Do("nodes ready", func(p *progress.Phase) error { return waitReady(ctx, p, client) }); err != nil {
		return err
	}
	return s.demo(ctx, client)
}

// LoadImage builds the product's image and gives it to all running nodes.
func (s *Sandbox) LoadImage(ctx context.Context) error {
	if _, _, err := s.ready(ctx); err != nil {
		return err
	}
	product, err := s.loadImage(ctx)
	if err != nil {
		return err
	}
	s.out.Info("nodes have %s; `bin/sandbox up` installs it", product.Name())
	return nil
}

// WriteImage writes the product's image as an OCI archive.
func (s *Sandbox) WriteImage(ctx context.Context, path string) error {
	if err := s.makeLogs(); err != nil {
		return err
	}
	return s.out.Do("ovnkctl image", func(p *progress.Phase) error {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("image archive: %w", err)
		}
		product, err := s.product(ctx, p)
		if err != nil {
			return err
		}
		f, err := os.Create(path)
		if err != nil {
			return fmt.Errorf("image archive: %w", err)
		}
		p.Note("%s in %s", product.Name(), path)
		return errors.Join(product.Write(f), f.Close())
	})
}

func (s *Sandbox) product(ctx context.Context, p *progress.Phase) (images.Product, error) {
	b := s.images(p.Note)
	base, err := b.Base(ctx)
	if err != nil {
		return images.Product{}, err
	}
	p.Note("compiling ovnkctl")
	if err := b.Build(ctx); err != nil {
		return images.Product{}, err
	}
	return b.Product(base, s.path("image"))
}

func (s *Sandbox) loadImage(ctx context.Context) (images.Product, error) {
	var product images.Product
	err := s.out.Do("ovnkctl image", func(p *progress.Phase) error {
		var err error
		if product, err = s.product(ctx, p); err != nil {
			return err
		}
		nodes, err := s.nodes()
		if err != nil {
			return err
		}
		p.Note("loading %s", product.Name())
		var group errgroup.Group
		for _, m := range s.state.Nodes {
			if _, ok := nodes.Running(m.Name); !ok {
				continue
			}
			group.Go(func() error { return load(ctx, nodes, m.Name, product) })
		}
		err = group.Wait()
		p.Note("%s", product.Name())
		return err
	})
	return product, err
}

func load(ctx context.Context, nodes node.Config, name string, product images.Product) error {
	if err := nodes.WaitRuntime(ctx, name); err != nil {
		return err
	}
	socket, err := nodes.Socket(name)
	if err != nil {
		return err
	}
	if err := product.Load(ctx, socket, filepath.Join(nodes.Logs, name, "import.log")); err != nil {
		return fmt.Errorf("node %s: %w", name, err)
	}
	return nil
}

// loadLast gives a node the image that the others have.
func (s *Sandbox) loadLast(ctx context.Context, nodes node.Config, name string) error {
	b := s.images(func(string, ...any) {})
	base, err := b.Base(ctx)
	if err != nil {
		return err
	}
	product, err := images.LastProduct(base, s.path("image"))
	if errors.Is(err, os.ErrNotExist) {
		return nil // none was built yet
	}
	if err != nil {
		return err
	}
	return load(ctx, nodes, name, product)
}

func (s *Sandbox) install(ctx context.Context, p *progress.Phase, client kubernetes.Interface, tag string) error {
	verb := "install"
	if _, err := client.AppsV1().DaemonSets("ovn-kubernetes").Get(ctx, "ovnkube-node", metav1.GetOptions{}); err == nil {
		verb = "upgrade" // to what is built now; nothing happens if that is the same
	}
	logPath := s.log("install")
	log, err := os.Create(logPath)
	if err != nil {
		return fmt.Errorf("install log: %w", err)
	}
	defer log.Close() //nolint:errcheck // a log
	cmd := exec.CommandContext(ctx, filepath.Join(s.Checkout, "bin/ovnkctl"), installArgs(verb, s.plan(), s.state.GatewayMode, s.Kubeconfig(), tag)...)
	out := io.MultiWriter(log, p.Lines())
	cmd.Stdout, cmd.Stderr = out, out
	// Ctrl-C must leave a release that can be upgraded: let the installer end by itself.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Run(); err != nil {
		return progress.WithLog(fmt.Errorf("bin/ovnkctl %s: %w", verb, err), logPath)
	}
	p.Note("")
	return nil
}

func waitReady(ctx context.Context, p *progress.Phase, client kubernetes.Interface) error {
	deadline := time.Now().Add(nodesReady)
	for {
		list, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err == nil {
			waiting := notReady(list.Items)
			if len(waiting) == 0 {
				p.Note("%d nodes", len(list.Items))
				return nil
			}
			p.Note("%s", waiting[0])
			err = fmt.Errorf("not Ready after %s: %s", nodesReady, waiting)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(deadline) {
			return err
		}
		time.Sleep(200 * time.Millisecond)
	}
}
