package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/ovnkctl/ovnkctl/test/sandbox/netspace"
	"github.com/ovnkctl/ovnkctl/test/sandbox/node"
	"github.com/ovnkctl/ovnkctl/test/sandbox/progress"

	"github.com/ovnkctl/ovnkctl/test/sandbox/fabric"
)

// ready prepares a command that changes nodes of a running sandbox.
func (s *Sandbox) ready(ctx context.Context) (node.Config, kubernetes.Interface, error) {
	if err := s.mustBeUp(); err != nil {
		return node.Config{}, nil, err
	}
	set, err := s.builder(func(string, ...any) {}).Cluster(ctx)
	if err != nil {
		return node.Config{}, nil, err
	}
	s.programs = set
	nodes, err := s.nodes()
	if err != nil {
		return node.Config{}, nil, err
	}
	client, err := s.client()
	return nodes, client, err
}

func (s *Sandbox) member(name string) (Member, error) {
	if m := s.state.find(name); m != nil {
		return *m, nil
	}
	return Member{}, fmt.Errorf("there is no node %q; the sandbox has %s", name, strings.Join(s.state.names(), ", "))
}

// AddNode adds a machine to the cluster.
func (s *Sandbox) AddNode(ctx context.Context, name string) error {
	if err := s.mustBeUp(); err != nil {
		return err
	}
	if err := s.Build(ctx); err != nil {
		return err
	}
	nodes, client, err := s.ready(ctx)
	if err != nil {
		return err
	}
	m, err := s.state.add(name)
	if err != nil {
		return err
	}
	if err := s.save(); err != nil {
		return err
	}
	return s.out.Do("add "+name, func(p *progress.Phase) error {
		if err := s.startNode(nodes, m); err != nil {
			return err
		}
		return s.settle(ctx, p, client, nodes, m)
	})
}

// RemoveNode takes a machine out for good, with its Node object and its disk.
func (s *Sandbox) RemoveNode(ctx context.Context, name string) error {
	nodes, client, err := s.ready(ctx)
	if err != nil {
		return err
	}
	m, err := s.member(name)
	if err != nil {
		return err
	}
	if m.Name == s.state.first() {
		return fmt.Errorf("node %s carries the control plane and cannot be removed", name)
	}
	return s.out.Do("remove "+name, func(*progress.Phase) error {
		if err := nodes.PowerOff(name); err != nil {
			return err
		}
		if err := client.CoreV1().Nodes().Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete Node %s: %w", name, err)
		}
		if err := nodes.Erase(name); err != nil {
			return err
		}
		s.state.Nodes = slices.DeleteFunc(s.state.Nodes, func(x Member) bool { return x.Name == name })
		return s.save()
	})
}

// KillNode pulls a machine's plug and leaves it off. The Node object and the
// disk stay.
func (s *Sandbox) KillNode(ctx context.Context, name string) error {
	nodes, client, err := s.ready(ctx)
	if err != nil {
		return err
	}
	m, err := s.member(name)
	if err != nil {
		return err
	}
	return s.out.Do("kill "+name, func(p *progress.Phase) error {
		if err := nodes.PowerOff(name); err != nil {
			return err
		}
		return s.reviveControlPlane(ctx, p, client, m)
	})
}

// RebootNode pulls the plug and starts the machine again: its NIC has its
// addresses back, /run is empty, the disk is as it was.
func (s *Sandbox) RebootNode(ctx context.Context, name string) error {
	nodes, client, err := s.ready(ctx)
	if err != nil {
		return err
	}
	m, err := s.member(name)
	if err != nil {
		return err
	}
	return s.out.Do("reboot "+name, func(p *progress.Phase) error {
		if err := nodes.PowerOff(name); err != nil {
			return err
		}
		if err := s.reviveControlPlane(ctx, p, client, m); err != nil {
			return err
		}
		if err := nodes.Boot(name, m.Index); err != nil {
			return err
		}
		return s.settle(ctx, p, client, nodes, m)
	})
}

// reviveControlPlane starts the control plane again when its node has lost
// power: the cluster goes on, with its data, after the few seconds that this takes.
func (s *Sandbox) reviveControlPlane(ctx context.Context, p *progress.Phase, client kubernetes.Interface, m Member) error {
	if m.Name != s.state.first() {
		return nil
	}
	if err := s.fabric().EnsureNode(m.Name, m.Index); err != nil {
		return err
	}
	return s.startControlPlane(ctx, p, client)
}

// settle waits for a started node's runtime and kubelet, and gives it the
// product's image, which the registry of a real cluster would.
func (s *Sandbox) settle(ctx context.Context, p *progress.Phase, client kubernetes.Interface, nodes node.Config, m Member) error {
	p.Note("waiting for containerd")
	if err := nodes.WaitRuntime(ctx, m.Name); err != nil {
		return err
	}
	if err := s.loadLast(ctx, nodes, m.Name); err != nil {
		return err
	}
	return s.waitRegistered(ctx, p, client, []Member{m})
}

// Exec replaces this process by a command inside a node.
func (s *Sandbox) Exec(name string, argv []string) error {
	if err := s.mustBeUp(); err != nil {
		return err
	}
	if _, err := s.member(name); err != nil {
		return err
	}
	nodes, err := s.nodes()
	if err != nil {
		return err
	}
	pid, ok := nodes.Running(name)
	if !ok {
		return fmt.Errorf("node %s is off: `bin/sandbox node reboot %s` starts it", name, name)
	}
	return node.Exec(pid, name, nodes.Cgroups, argv)
}

// OutsideExec replaces this process by a command on the outside host.
func (s *Sandbox) OutsideExec(argv []string) error {
	if !netspace.Exists(fabric.OutsideNS) {
		return s.mustBeUp()
	}
	return netspace.Exec(fabric.OutsideNS, argv)
}
