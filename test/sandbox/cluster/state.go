// Package cluster is the life of the sandbox: it brings a cluster up from
// whatever is there, changes it, looks at it and takes it down again.
package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"

	"github.com/ovnkctl/ovnkctl/test/sandbox/plan"
)

// Ways to run the nodes' gateway, and networks to install.
const (
	GatewayShared = "shared"
	GatewayLocal  = "local"
	CNIOvnkctl    = "ovnkctl"
	CNINone       = "none"
)

// Options is what `up` is asked for; zero values mean "as it is" on a running
// sandbox and the defaults on a new one.
type Options struct {
	Nodes       int
	Family      plan.Family
	GatewayMode string
	CNI         string
}

// State is what has to be remembered about a cluster.
type State struct {
	Family      plan.Family `json:"family"`
	GatewayMode string      `json:"gatewayMode"`
	CNI         string      `json:"cni"`
	Nodes       []Member    `json:"nodes"`
}

// Member is one node. The index decides its addresses.
type Member struct {
	Name  string `json:"name"`
	Index int    `json:"index"`
}

// nodeName is what fits the kernel's interface names and Kubernetes' object names.
var nodeName = regexp.MustCompile(`^[a-z]([-a-z0-9]{0,11}[a-z0-9])?$`)

// merge applies options to the state of a sandbox that may exist.
func (s State) merge(o Options) (State, error) {
	fresh := len(s.Nodes) == 0
	if fresh {
		s = State{Family: plan.Dual, GatewayMode: GatewayShared, CNI: CNIOvnkctl}
		if o.Nodes == 0 {
			o.Nodes = 3
		}
	}
	if o.Family != "" && o.Family != s.Family && !fresh {
		return s, fmt.Errorf("the running sandbox is %s, not %s: addresses cannot change while it runs; `bin/sandbox down` first", s.Family, o.Family)
	}
	if o.Family != "" {
		s.Family = o.Family
	}
	if o.GatewayMode != "" {
		if o.GatewayMode != GatewayShared && o.GatewayMode != GatewayLocal {
			return s, fmt.Errorf("gateway mode %q: use %s or %s", o.GatewayMode, GatewayShared, GatewayLocal)
		}
		s.GatewayMode = o.GatewayMode
	}
	if o.CNI != "" {
		if o.CNI != CNIOvnkctl && o.CNI != CNINone {
			return s, fmt.Errorf("network %q: use %s or %s", o.CNI, CNIOvnkctl, CNINone)
		}
		s.CNI = o.CNI
	}
	if o.Nodes < 0 || o.Nodes > plan.MaxNodes {
		return s, fmt.Errorf("%d nodes: use 1 to %d", o.Nodes, plan.MaxNodes)
	}
	if o.Nodes != 0 && o.Nodes < len(s.Nodes) {
		return s, fmt.Errorf("the running sandbox has %d nodes: `bin/sandbox node remove NAME` removes one", len(s.Nodes))
	}
	s.Nodes = slices.Clone(s.Nodes)
	for i := 1; len(s.Nodes) < o.Nodes; i++ {
		name := fmt.Sprintf("node%d", i)
		if s.find(name) == nil {
			s.Nodes = append(s.Nodes, Member{Name: name, Index: s.freeIndex()})
		}
	}
	return s, nil
}

// add makes a member with the lowest free index.
func (s *State) add(name string) (Member, error) {
	if !nodeName.MatchString(name) {
		return Member{}, fmt.Errorf("node name %q: use lower-case letters, digits and dashes, at most 13 characters", name)
	}
	if s.find(name) != nil {
		return Member{}, fmt.Errorf("node %s exists", name)
	}
	if len(s.Nodes) >= plan.MaxNodes {
		return Member{}, fmt.Errorf("the sandbox has %d nodes, the most that its addresses allow", len(s.Nodes))
	}
	m := Member{Name: name, Index: s.freeIndex()}
	s.Nodes = append(s.Nodes, m)
	return m, nil
}

func (s *State) freeIndex() int {
	for i := 1; ; i++ {
		if !slices.ContainsFunc(s.Nodes, func(m Member) bool { return m.Index == i }) {
			return i
		}
	}
}

func (s *State) find(name string) *Member {
	for i := range s.Nodes {
		if s.Nodes[i].Name == name {
			return &s.Nodes[i]
		}
	}
	return nil
}

func (s *State) names() []string {
	out := make([]string, len(s.Nodes))
	for i, m := range s.Nodes {
		out[i] = m.Name
	}
	return out
}

// first is the node with the control plane.
func (s *State) first() string { return s.Nodes[0].Name }

func loadState(path string) (State, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return State{}, nil
	}
	if err != nil {
		return State{}, fmt.Errorf("sandbox state: %w", err)
	}
	var s State
	if err := json.Unmarshal(data, &s); err != nil {
		return State{}, fmt.Errorf("sandbox state %s: %w (`bin/sandbox down` starts over)", path, err)
	}
	return s, nil
}

func (s State) save(path string) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("sandbox state: %w", err)
	}
	if err := os.WriteFile(path+".new", data, 0o644); err != nil {
		return fmt.Errorf("sandbox state: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("sandbox state: %w", err)
	}
	return nil
}
