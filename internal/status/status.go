// Package status says whether the network of a cluster is up: what runs where and in which
// version, how far each zone follows its Northbound database, and which pods wait for their
// network. Why something is wrong is for package diagnose.
package status

import (
	"fmt"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/output"
)

const kind = "Status"

// Status is the answer.
type Status struct {
	output.Meta
	Source inspect.Origin `json:"source"`
	Time   time.Time      `json:"time"` // of the state that was looked at
	// Ready tells that nothing of severity error is known.
	Ready bool `json:"ready"`
	// Notes are what is wrong or odd, the worst first.
	Notes      []Note      `json:"notes,omitempty"`
	Components []Component `json:"components,omitempty"`
	Nodes      []Node      `json:"nodes"`
	// Waiting are the pods without network.
	Waiting []Waiting `json:"podsWithoutNetwork,omitempty"`
	// Findings is missing when nobody looked for them.
	Findings *Findings `json:"findings,omitempty"`
	// Problems are what could not be read; then there may be more notes than these.
	Problems []*inspect.Problem `json:"problems,omitempty"`
}

// Findings are how many things `ovnkctl diagnose` finds at a first look.
type Findings struct {
	Errors   int `json:"errors"`
	Warnings int `json:"warnings"`
	Infos    int `json:"infos"`
	// Unknown is why there may be more, or why nothing is known of them.
	Unknown string `json:"unknown,omitempty"`
}

// Severity is how bad a note is.
type Severity string

// The severities.
const (
	Error   Severity = "error"   // something does not work
	Warning Severity = "warning" // it works, but is not as it should be
)

// Note is something that is wrong, or odd.
type Note struct {
	Severity Severity `json:"severity"`
	Node     string   `json:"node,omitempty"`
	Object   string   `json:"object,omitempty"` // e.g. pod/ns/name
	Message  string   `json:"message"`
	Next     string   `json:"next,omitempty"` // what to run
}

// Component is a workload of the network.
type Component struct {
	Kind    string `json:"kind"`
	Name    string `json:"name"`
	Desired int    `json:"desired"`
	Ready   int    `json:"ready"`
	// Images are what its pods run, with the nodes.
	Images []Version `json:"images,omitempty"`
}

// Version is a version and the nodes that have it.
type Version struct {
	Version string   `json:"version"`
	Nodes   []string `json:"nodes"`
}

// Node is a node of the network.
type Node struct {
	Name string `json:"name"`
	// Ready is false when a note of severity error is about the node.
	Ready      bool        `json:"ready"`
	Containers []Container `json:"containers,omitempty"`
	Versions   Versions    `json:"versions"`
	// Zone is missing when the databases could not be read.
	Zone *Zone `json:"zone,omitempty"`
	// Pods have a port on the pod network, or should; Networked of them are ready to use it.
	Pods      int `json:"pods"`
	Networked int `json:"networked"`
}

// Container is a container of the network on a node.
type Container struct {
	Pod      string `json:"pod"`
	Name     string `json:"name"`
	Ready    bool   `json:"ready"`
	State    string `json:"state"`
	Restarts int32  `json:"restarts"`
}

// Versions are those of the programs of a node; empty where they are not known.
type Versions struct {
	Ovnkctl    string `json:"ovnkctl,omitempty"`
	Northd     string `json:"northd,omitempty"`
	Controller string `json:"ovnController,omitempty"`
	OVS        string `json:"ovs,omitempty"`
	Kubelet    string `json:"kubelet,omitempty"`
}

// Zone is how far the OVN of a node follows its Northbound database. Changes are counted by
// NB_Global.nb_cfg.
type Zone struct {
	NBCfg int `json:"nbCfg"` // asked for
	SBCfg int `json:"sbCfg"` // done by northd
	HVCfg int `json:"hvCfg"` // in force, by ovn-controller's word
	// Behind is how many of the changes that should be in force by now are not, and By the
	// program that they wait for.
	Behind int    `json:"behind"`
	By     string `json:"by,omitempty"`
	// Milliseconds is how long the last change that is in force took, from northd hearing of
	// it to its flows; 0 when it is not known.
	Milliseconds int `json:"milliseconds,omitempty"`
}

// Waiting is a pod without network.
type Waiting struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Node      string `json:"node"`
	// Seconds since it was to start.
	Seconds int64 `json:"seconds"`
	// Stage is what it lacks first: address, port, binding, flows or start.
	Stage   Stage  `json:"stage"`
	Message string `json:"message"`
}

// Stage is a step on the way of a pod to its network.
type Stage string

// The stages, in order.
const (
	StageAddress Stage = "address" // the annotation of the node's program
	StagePort    Stage = "port"    // Logical_Switch_Port in the Northbound database
	StageBinding Stage = "binding" // Port_Binding, claimed by ovn-controller
	StageFlows   Stage = "flows"   // Port_Binding.up
	StageStart   Stage = "start"   // the kubelet's word, with an address
)

// Document is an empty status, for its schema.
func Document() any { return Status{Meta: output.Kind(kind)} }

// ExitCode implements output.Coded.
func (s *Status) ExitCode() int {
	switch {
	case !s.Ready:
		return output.Findings
	case len(s.Problems) > 0:
		return output.Partial
	}
	return output.OK
}

// Names implements output.Named: the nodes, as kubectl names them.
func (s *Status) Names() []string {
	out := []string{}
	for i := range s.Nodes {
		out = append(out, "node/"+s.Nodes[i].Name)
	}
	return out
}

// Items implements output.Listed.
func (s *Status) Items() any { return s.Nodes }

// Summary is one line: whether the network is up and, if not, why first.
func (s *Status) Summary() string {
	ready := 0
	for i := range s.Nodes {
		if s.Nodes[i].Ready {
			ready++
		}
	}
	text := fmt.Sprintf("%d of %d nodes ready", ready, len(s.Nodes))
	for _, n := range s.Notes {
		if n.Severity == Error {
			return text + "; " + n.String()
		}
	}
	return text
}

// String is the note on one line.
func (n *Note) String() string {
	where := n.Object
	switch node := "node/" + n.Node; {
	case n.Node == "" || where == node:
	case where == "":
		where = node
	default:
		where += " on " + n.Node
	}
	return where + ": " + n.Message
}
