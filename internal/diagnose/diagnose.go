// Package diagnose looks for what is wrong with a cluster's network. Each check knows one
// fault, has one code, and is a pure function of what was read of the cluster:
//
//	inspect.Snapshot ── Read ──> Cluster ──> Check.find ──> findings ──> causes ──> Result
//
// A fault has consequences, which other checks see: a chassis that is missing in a zone also
// lacks a tunnel. A check names the checks that may explain what it finds, and what is
// explained is told with its cause. So one root cause is one finding.
package diagnose

import (
	"slices"
	"strings"
)

// Severity is how bad a finding is.
type Severity string

// The severities, from harmless to bad.
const (
	Info    Severity = "info"    // worth knowing
	Warning Severity = "warning" // works now, or for most
	Error   Severity = "error"   // something does not work
)

// Severities are all severities, from harmless to bad.
var Severities = []Severity{Info, Warning, Error}

// AtLeast tells whether s is as bad as other, or worse.
func (s Severity) AtLeast(other Severity) bool {
	return slices.Index(Severities, s) >= slices.Index(Severities, other)
}

// Object is a Kubernetes object.
type Object struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
}

// String is "Kind namespace/name".
func (o Object) String() string {
	if o.Namespace != "" {
		return o.Kind + " " + o.Namespace + "/" + o.Name
	}
	return o.Kind + " " + o.Name
}

// Finding is one thing that is wrong.
type Finding struct {
	Code     string   `json:"code"`
	Severity Severity `json:"severity"`
	Title    string   `json:"title"`
	// Node is where it was seen, empty for what is of no single node.
	Node string `json:"node,omitempty"`
	// Object is what is concerned, if it is one Kubernetes object.
	Object *Object `json:"object,omitempty"`
	// Message is what is wrong, with the decisive values.
	Message string `json:"message"`
	// Evidence are the rows, fields or lines that show it.
	Evidence []string `json:"evidence,omitempty"`
	// Next is what to do now; the text of the code says more.
	Next string `json:"next"`
	// Explains are the findings of other checks that this one is the cause of.
	Explains []Consequence `json:"explains,omitempty"`

	// peers are the other nodes it is about.
	peers []string
	// repair is what the node's program would have to look at again.
	repair target
}

// target is something that a node's program keeps as it should be: a key of a feature, or the
// host.
type target struct {
	feature, key string
	host         bool
}

// Consequence is a finding that another one explains.
type Consequence struct {
	Code    string  `json:"code"`
	Node    string  `json:"node,omitempty"`
	Object  *Object `json:"object,omitempty"`
	Message string  `json:"message"`

	repair target
}

// scope says which findings of a cause explain a finding.
type scope int

const (
	sameNode   scope = iota // those of a node that the finding is about
	sameObject              // those about the same object
	nodeItself              // those whose object is a node that the finding is about
	anywhere                // all
)

// cause is a check whose findings may explain another check's.
type cause struct {
	code  string
	scope scope
}

// Check knows one fault.
type Check struct {
	// Code is OVNK-<AREA>-NNN. It stays what it is for ever.
	Code     string
	Severity Severity
	// Title is the fault in a few words.
	Title string
	// Meaning is what follows from it, Remedy what to do about it.
	Meaning, Remedy string

	causes []cause
	// asked says that it only runs if it is asked for by code or area: it reads much.
	asked bool
	find  func(*Cluster, func(Finding))
}

// Area is the middle part of the code, in lower case: what the check is about.
func (c *Check) Area() string {
	parts := strings.Split(c.Code, "-")
	return strings.ToLower(parts[1])
}

// Result is what was found.
type Result struct {
	Findings []Finding `json:"findings"`
	// Checks are the codes that were looked for.
	Checks []string `json:"checks"`
}

// Run runs checks, which may be a part of All: what would be explained by a check that is
// left out is then a finding of its own.
func Run(c *Cluster, checks []*Check) *Result {
	r := &Result{Findings: []Finding{}}
	var all []Finding
	for _, check := range checks {
		r.Checks = append(r.Checks, check.Code)
		check.find(c, func(f Finding) {
			f.Code, f.Severity, f.Title = check.Code, check.Severity, check.Title
			if f.Next == "" {
				f.Next = "ovnkctl help " + f.Code
			}
			all = append(all, f)
		})
	}
	r.Findings = append(r.Findings, fold(all, checks)...)
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		if d := slices.Index(Severities, b.Severity) - slices.Index(Severities, a.Severity); d != 0 {
			return d
		}
		return strings.Compare(a.Code+"\x00"+a.Node+"\x00"+a.Message, b.Code+"\x00"+b.Node+"\x00"+b.Message)
	})
	return r
}

// Worst is the worst severity of the findings; ok is false when there are none.
func (r *Result) Worst() (worst Severity, ok bool) {
	for i := range r.Findings {
		if s := r.Findings[i].Severity; !ok || s.AtLeast(worst) {
			worst, ok = s, true
		}
	}
	return worst, ok
}

// fold puts what is explained below its cause. A finding has one root, that of the first
// cause of its check that fits.
func fold(all []Finding, checks []*Check) []Finding {
	byCode := map[string]*Check{}
	for _, c := range checks {
		byCode[c.Code] = c
	}
	index := newCauses(all)
	parent := make([]int, len(all))
	for i := range all {
		parent[i] = index.of(i, byCode[all[i].Code].causes)
	}
	root := func(i int) int {
		for parent[i] >= 0 {
			i = parent[i] // no cycle: causes of checks have none, see the tests
		}
		return i
	}
	for i := range all {
		if parent[i] < 0 {
			continue
		}
		f, top := &all[i], &all[root(i)]
		top.Explains = append(top.Explains, Consequence{f.Code, f.Node, f.Object, f.Message, f.repair})
	}
	var out []Finding
	for i := range all {
		if parent[i] < 0 {
			out = append(out, all[i])
		}
	}
	return out
}

// causes finds findings by what they may be causes of. There may be as many findings as pods.
type causes struct {
	all      []Finding
	byCode   map[string]int
	byNode   map[[2]string]int
	byObject map[string]map[Object]int
}

func newCauses(all []Finding) *causes {
	x := &causes{all: all, byCode: map[string]int{}, byNode: map[[2]string]int{}, byObject: map[string]map[Object]int{}}
	for i := range slices.Backward(all) { // of several the first
		f := &all[i]
		x.byCode[f.Code] = i
		for _, n := range append([]string{f.Node}, f.peers...) {
			if n != "" {
				x.byNode[[2]string{f.Code, n}] = i
			}
		}
		if f.Object != nil {
			if x.byObject[f.Code] == nil {
				x.byObject[f.Code] = map[Object]int{}
			}
			x.byObject[f.Code][*f.Object] = i
		}
	}
	return x
}

// of is the finding that explains another, -1 for none.
func (x *causes) of(i int, list []cause) int {
	f := &x.all[i]
	for _, c := range list {
		switch c.scope {
		case anywhere:
			if j, ok := x.byCode[c.code]; ok {
				return j
			}
		case sameObject:
			if f.Object != nil {
				if j, ok := x.byObject[c.code][*f.Object]; ok {
					return j
				}
			}
		case sameNode:
			for _, n := range append([]string{f.Node}, f.peers...) {
				if j, ok := x.byNode[[2]string{c.code, n}]; n != "" && ok {
					return j
				}
			}
		case nodeItself:
			for _, n := range append([]string{f.Node}, f.peers...) {
				if j, ok := x.byObject[c.code][*nodeObject(n)]; n != "" && ok {
					return j
				}
			}
		}
	}
	return -1
}
