package collect

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/output"
)

// Collection is what was collected.
type Collection struct {
	output.Meta
	File string `json:"file,omitempty"` // empty when it was written to standard output
	// Bytes is the size of the file.
	Bytes        int64              `json:"bytes"`
	Milliseconds int64              `json:"milliseconds"`
	Nodes        []CollectedNode    `json:"nodes"`
	Problems     []*inspect.Problem `json:"problems,omitempty"`
}

// CollectedNode is what was collected of one node, or of the cluster when it has no name.
type CollectedNode struct {
	Name  string `json:"name,omitempty"`
	Files int    `json:"files"`
	// Bytes is their size before compression.
	Bytes int64 `json:"bytes"`
	// Missing are files that could not be collected.
	Missing int `json:"missing"`
}

func newCollection(m *inspect.Manifest, written int64, took time.Duration) *Collection {
	c := &Collection{Meta: output.Kind("Collection"), Bytes: written, Milliseconds: took.Milliseconds(), Problems: m.Problems}
	names := append([]string{""}, m.Nodes...)
	for _, name := range names {
		n := CollectedNode{Name: name}
		for _, i := range m.Items {
			switch {
			case i.Node != name:
			case i.Status == inspect.ItemFailed:
				n.Missing++
			default:
				n.Files++
				n.Bytes += i.Bytes
			}
		}
		c.Nodes = append(c.Nodes, n)
	}
	return c
}

// ExitCode implements output.Coded.
func (c *Collection) ExitCode() int {
	if len(c.Problems) > 0 {
		return output.Partial
	}
	return output.OK
}

// Names implements output.Named.
func (c *Collection) Names() []string { return []string{c.File} }

// Items implements output.Listed.
func (c *Collection) Items() any { return c.Nodes }

// Table implements output.Tabular.
func (c *Collection) Table(bool) output.Table {
	t := output.Table{Header: []string{"NODE", "FILES", "SIZE", "MISSING"}}
	for _, n := range c.Nodes {
		name := n.Name
		if name == "" {
			name = "(cluster)"
		}
		t.Rows = append(t.Rows, []string{name, fmt.Sprint(n.Files), Size(n.Bytes), fmt.Sprint(n.Missing)})
	}
	t.After = output.ProblemLines(inspect.Errors(c.Problems))
	if c.File != "" {
		t.After = append(t.After, "", fmt.Sprintf("%s: %s, in %.1f s. Read it with --from %s", c.File, Size(c.Bytes), float64(c.Milliseconds)/1000, c.File))
	}
	return t
}

// Size is a number of bytes for people.
func Size(n int64) string {
	const unit = 1024
	switch {
	case n < unit:
		return fmt.Sprintf("%d B", n)
	case n < unit*unit:
		return fmt.Sprintf("%.1f KiB", float64(n)/unit)
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/unit/unit)
}

// Estimate is how large a bundle will be, about.
type Estimate struct {
	output.Meta
	Nodes int `json:"nodes"`
	Pods  int `json:"pods"`
	// Bytes is the size of the bundle, Unpacked that of its content.
	Bytes    int64 `json:"bytes"`
	Unpacked int64 `json:"unpacked"`
}

// Bytes of a bundle's content, measured in the sandbox (three nodes, 20 pods) with Open
// vSwitch 3.5 and OVN 25.03; logs are those of some weeks. They are for an estimate, good to a
// factor of two where logs are as long as that.
const (
	bytesPerNode    = 900_000 // databases, flows, links, nftables of a node without pods
	bytesPerPod     = 16_000  // of a pod on its node: rows, logical flows, flows
	bytesPerService = 4_000   // of a service on each node
	bytesPerObject  = 3_000   // of an object of Kubernetes
	bytesPerLog     = 300_000 // of a container's log
	logsPerNode     = 7       // containers of the network
	// compression is how much smaller gzip makes it all.
	compression = 10
)

// NewEstimate looks at the Kubernetes objects, which say how much there will be.
func NewEstimate(ctx context.Context, s *inspect.Snapshot, nodes []string, logs bool) (*Estimate, error) {
	o, err := s.Objects(ctx)
	if err != nil {
		return nil, err
	}
	if nodes == nil {
		if nodes, err = s.Nodes(ctx); err != nil {
			return nil, err
		}
	}
	e := &Estimate{Meta: output.Kind("CollectionEstimate"), Nodes: len(nodes)}
	for i := range o.Pods {
		if slices.Contains(nodes, o.Pods[i].Spec.NodeName) && !o.Pods[i].Spec.HostNetwork {
			e.Pods++
		}
	}
	objects := len(o.Nodes) + len(o.Namespaces) + len(o.Pods) + len(o.Services) + len(o.EndpointSlices) + len(o.NetworkPolicies)
	perNode := int64(bytesPerNode + len(o.Services)*bytesPerService)
	if logs {
		perNode += logsPerNode * bytesPerLog
	}
	e.Unpacked = int64(e.Nodes)*perNode + int64(e.Pods)*bytesPerPod + int64(objects)*bytesPerObject
	e.Bytes = e.Unpacked / compression
	return e, nil
}

// String is "about 1.2 MiB (12 MiB unpacked) from 3 nodes with 20 pods".
func (e *Estimate) String() string {
	return fmt.Sprintf("about %s (%s unpacked) from %d nodes with %d pods", Size(e.Bytes), Size(e.Unpacked), e.Nodes, e.Pods)
}

// Table implements output.Tabular.
func (e *Estimate) Table(bool) output.Table {
	return output.Table{
		Header: []string{"NODES", "PODS", "SIZE", "UNPACKED"},
		Rows:   [][]string{{fmt.Sprint(e.Nodes), fmt.Sprint(e.Pods), "about " + Size(e.Bytes), "about " + Size(e.Unpacked)}},
	}
}
