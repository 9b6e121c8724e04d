package cluster

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os/exec"
	"strings"
	"text/template"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/ovnkctl/ovnkctl/test/sandbox/fabric"
	"github.com/ovnkctl/ovnkctl/test/sandbox/images"
	"github.com/ovnkctl/ovnkctl/test/sandbox/netspace"
	"github.com/ovnkctl/ovnkctl/test/sandbox/plan"
	"github.com/ovnkctl/ovnkctl/test/sandbox/progress"
)

//go:embed manifests
var manifests embed.FS

const (
	demoNamespace = "demo"
	demoPort      = 8080
	// demoPatience bounds the start of the demo's pods.
	demoPatience = 2 * time.Minute
)

// demo deploys cluster DNS and the demo application and checks that every pod
// answers from every node.
func (s *Sandbox) demo(ctx context.Context, client kubernetes.Interface) error {
	err := s.out.Do("demo application", func(p *progress.Phase) error {
		for _, name := range []string{"coredns", "demo"} {
			if err := s.apply(ctx, name); err != nil {
				return err
			}
		}
		return s.settleDemo(ctx, p, client)
	})
	if err != nil {
		return err
	}
	s.out.Info("the cluster is up; try next:\n%s", s.hints())
	return nil
}

func (s *Sandbox) apply(ctx context.Context, name string) error {
	text, err := renderManifest(name, s.plan())
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, s.programs.Path("kubectl"), "--kubeconfig", s.Kubeconfig(), "apply", "--server-side", "--force-conflicts", "-f", "-")
	cmd.Stdin = bytes.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("apply %s: %w: %s", name, err, out)
	}
	return nil
}

func renderManifest(name string, p plan.Plan) ([]byte, error) {
	t, err := template.ParseFS(manifests, "manifests/"+name+".yaml")
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", name, err)
	}
	var out bytes.Buffer
	err = t.Execute(&out, struct {
		CoreDNS, Agnhost string
		DNS              []netip.Addr
	}{images.CoreDNS, images.Agnhost, p.DNSService()})
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", name, err)
	}
	return out.Bytes(), nil
}

// waitDemo waits for one ready pod per node.
func (s *Sandbox) waitDemo(ctx context.Context, p *progress.Phase, client kubernetes.Interface) ([]corev1.Pod, error) {
	deadline := time.Now().Add(demoPatience)
	for {
		list, err := client.CoreV1().Pods(demoNamespace).List(ctx, metav1.ListOptions{LabelSelector: "app=web"})
		var ready []corev1.Pod
		if err == nil {
			for _, pod := range list.Items {
				// The pod of a removed machine stays listed for a minute.
				if podReady(&pod) && s.state.find(pod.Spec.NodeName) != nil {
					ready = append(ready, pod)
				}
			}
			if len(ready) >= len(s.state.Nodes) {
				return ready, nil
			}
			err = fmt.Errorf("%d of %d pods are ready after %s; `bin/sandbox kubectl -n %s describe pods` says why", len(ready), len(s.state.Nodes), demoPatience, demoNamespace)
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if time.Now().After(deadline) {
			return nil, err
		}
		p.Note("%d of %d pods ready", len(ready), len(s.state.Nodes))
		time.Sleep(200 * time.Millisecond)
	}
}

func podReady(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue && pod.DeletionTimestamp == nil
		}
	}
	return false
}

// settleDemo repeats the check until it passes: right after the reboot of a
// node, pods are listed as ready that are about to restart.
func (s *Sandbox) settleDemo(ctx context.Context, p *progress.Phase, client kubernetes.Interface) error {
	deadline := time.Now().Add(demoPatience)
	for {
		pods, err := s.waitDemo(ctx, p, client)
		if err != nil {
			return err
		}
		paths, err := s.checkDemo(ctx, pods)
		if err == nil {
			err = s.checkDNS(ctx)
		}
		if err == nil {
			p.Note("%d pods answer on %d paths from %d nodes", len(pods), paths, len(s.state.Nodes))
			return nil
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return err
		}
		p.Note("%s", err)
		time.Sleep(time.Second)
	}
}

// checkDemo asks every address of every pod from every node for its name.
func (s *Sandbox) checkDemo(ctx context.Context, pods []corev1.Pod) (int, error) {
	paths := 0
	for _, m := range s.state.Nodes {
		client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DialContext: netspace.Dialer(fabric.NodeNS(m.Name)), DisableKeepAlives: true}}
		for _, pod := range pods {
			for _, ip := range pod.Status.PodIPs {
				addr, err := netip.ParseAddr(ip.IP)
				if err != nil {
					return paths, fmt.Errorf("address of pod %s: %w", pod.Name, err)
				}
				got, err := fetch(ctx, client, fmt.Sprintf("http://%s/hostname", netip.AddrPortFrom(addr, demoPort)))
				if err != nil {
					return paths, fmt.Errorf("pod %s/%s on %s does not answer %s at %s: %w", pod.Namespace, pod.Name, pod.Spec.NodeName, m.Name, addr, err)
				}
				if got != pod.Name {
					return paths, fmt.Errorf("asked %s from %s for pod %s, but %q answered", addr, m.Name, pod.Name, got)
				}
				paths++
			}
		}
	}
	return paths, nil
}

func fetch(ctx context.Context, client *http.Client, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close() //nolint:errcheck // read only
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", resp.Status, body)
	}
	return strings.TrimSpace(string(body)), nil
}

// hints says what can be done with a fresh cluster.
func (s *Sandbox) hints() string {
	url := "http://" + netip.AddrPortFrom(s.plan().Beyond()[0].Addr(), plan.OutsideHTTPPort).String()
	return strings.Join([]string{
		"    export KUBECONFIG=" + s.Kubeconfig(),
		"    bin/sandbox kubectl get pods -A -o wide",
		"    bin/sandbox kubectl -n demo exec ds/web -- curl -sg " + url + "/clientip    # a pod, seen from outside",
		"    bin/sandbox exec " + s.state.first() + " -- ip -br address",
		"    bin/sandbox e2e 'Networking Granular Checks: Pods'",
		"    bin/sandbox down",
	}, "\n")
}
