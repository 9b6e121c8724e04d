package explain

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/sb"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// Source is what an explanation reads: a cluster, or a record of one.
type Source interface {
	World(ctx context.Context) (*world.Store, error)
	// Nodes are the names of the nodes whose rows can be read.
	Nodes(ctx context.Context) ([]string, error)
	// Rows are the rows of a node: the Northbound database, and the tables Port_Binding,
	// MAC_Binding and Datapath_Binding of the Southbound and Interface, Port and Bridge of the
	// Open_vSwitch database.
	Rows(ctx context.Context, node string) (*Index, error)
	// LogicalFlows are a node's logical flows whose UUIDs begin with one of these eight
	// digits.
	LogicalFlows(ctx context.Context, node string, starts []string) ([]*sb.LogicalFlow, error)
	// FlowsFor are a node's logical flows that were made for rows whose UUIDs begin with one of
	// these eight digits.
	FlowsFor(ctx context.Context, node string, rows []string) ([]*sb.LogicalFlow, error)
	// Text is a text artefact of a node; inspect.ErrAbsent when there is none.
	Text(ctx context.Context, node, name string) (string, error)
}

// Options are a question.
type Options struct {
	// Text is a pod, service, node, policy, address, MAC, port, UUID, cookie or the name of a
	// row, e.g. of an ACL.
	Text      string
	Namespace string // of names without one
	// Node restricts the answer to the rows of one node.
	Node string
	// Flows asks for the logical and OpenFlow flows that were made of the rows, too.
	Flows bool
}

// Explanation is what something is.
type Explanation struct {
	Subject string `json:"subject"`
	// What is one sentence.
	What   string `json:"what"`
	Object Object `json:"object,omitzero"`
	// Facts are what else there is to know of the object.
	Facts []Fact `json:"facts,omitempty"`
	// Rows are those of the object, or those that the text names.
	Rows []Detail `json:"rows,omitempty"`
	// Flows are the logical flows that the text names.
	Flows []FlowDetail `json:"flows,omitempty"`
	// Host is what the hosts of nodes have of the object.
	Host []HostLine `json:"host,omitempty"`
	// Problems are nodes that could not be read.
	Problems []string `json:"problems,omitempty"`
}

// Detail is a row with its content, and what refers to it.
type Detail struct {
	RowRef
	Columns map[string]any `json:"columns"`
	// ReferredBy are rows that have it in a column.
	ReferredBy []Reference `json:"referredBy,omitempty"`
}

// Reference is a column of a row that refers to another row.
type Reference struct {
	RowRef
	Column string `json:"column"`
	// For are the objects of the rows that hang on a shared one: the policies whose rules
	// are in a port group.
	For []Object `json:"for,omitempty"`
}

// FlowDetail is a logical flow with the row that northd made it for.
type FlowDetail struct {
	Node     string  `json:"node"`
	UUID     string  `json:"uuid"`
	Stage    string  `json:"stage"`
	Pipeline string  `json:"pipeline"`
	Table    int     `json:"table"`
	Priority int     `json:"priority"`
	Match    string  `json:"match"`
	Actions  string  `json:"actions"`
	Row      *RowRef `json:"row,omitempty"`
	// OpenFlow are the flows of br-int that were made of it, and Packets how many met them.
	OpenFlow []string `json:"openFlow,omitempty"`
	Packets  uint64   `json:"packets"`
}

// ErrUnknown is a text that nothing is known by.
var ErrUnknown = errors.New("nothing is known by that name")

var (
	uuidPattern   = regexp.MustCompile(`^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$`)
	cookiePattern = regexp.MustCompile(`^0x([0-9a-fA-F]{1,8})$|^([0-9a-fA-F]{8})$`)
)

// Run answers a question.
func Run(ctx context.Context, s Source, o Options) (*Explanation, error) {
	e := &explainer{source: s, out: &Explanation{Subject: o.Text}}
	if err := e.read(ctx, o); err != nil {
		return nil, err
	}
	if err := e.explain(ctx, o); err != nil {
		return nil, err
	}
	if e.out.What == "" && len(e.out.Rows) == 0 && len(e.out.Flows) == 0 {
		return nil, e.unknown(o)
	}
	e.world.Read(func(v world.View) { e.out.Facts = facts(v, e.out.Object) })
	if err := e.hosts(ctx); err != nil {
		return nil, err
	}
	if o.Flows {
		if err := e.flowsOfRows(ctx); err != nil {
			return nil, err
		}
	}
	return e.out, e.packets(ctx)
}

// explainer answers one question.
type explainer struct {
	source Source
	world  *world.Store
	nodes  []string
	rows   map[string]*Index
	out    *Explanation
}

func (e *explainer) read(ctx context.Context, o Options) error {
	var err error
	if e.world, err = e.source.World(ctx); err != nil {
		return fmt.Errorf("objects of the cluster: %w", err)
	}
	if e.nodes, err = e.source.Nodes(ctx); err != nil {
		return fmt.Errorf("nodes: %w", err)
	}
	if o.Node != "" {
		if !slices.Contains(e.nodes, o.Node) {
			return &unknownNodeError{o.Node, e.nodes}
		}
		e.nodes = []string{o.Node}
	}
	return e.readRows(ctx)
}

// nodesAtOnce bounds how many nodes are read at the same time.
const nodesAtOnce = 8

func (e *explainer) readRows(ctx context.Context) error {
	indexes, errs := make([]*Index, len(e.nodes)), make([]error, len(e.nodes))
	var g errgroup.Group
	g.SetLimit(nodesAtOnce)
	for i, n := range e.nodes {
		g.Go(func() error {
			indexes[i], errs[i] = e.source.Rows(ctx, n)
			return nil
		})
	}
	_ = g.Wait() // of each node it is told what is wrong
	if ctx.Err() != nil {
		return ctx.Err()
	}
	e.rows = map[string]*Index{}
	for i, n := range e.nodes {
		if errs[i] != nil {
			e.out.Problems = append(e.out.Problems, fmt.Sprintf("rows of node %s: %v", n, errs[i]))
			continue
		}
		e.rows[n] = indexes[i]
	}
	return nil
}

// explain finds out what the text is, from the most to the least distinct form.
func (e *explainer) explain(ctx context.Context, o Options) error {
	text := o.Text
	if a, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
		e.address(a.Unmap())
		return nil
	}
	if mac, err := net.ParseMAC(text); err == nil && len(mac) == len("012345") {
		e.mac(mac.String())
		return nil
	}
	if uuidPattern.MatchString(text) {
		return e.uuid(ctx, strings.ToLower(text))
	}
	if ok := e.object(o); ok {
		return nil
	}
	if m := cookiePattern.FindStringSubmatch(text); m != nil {
		digits := strings.ToLower(m[1] + m[2])
		return e.cookie(ctx, strings.Repeat("0", prefixDigits-len(digits))+digits)
	}
	e.named(text)
	return nil
}

// each calls f for every row of every node.
func (e *explainer) each(f func(*Index, *Entry)) {
	for _, n := range e.nodes {
		if x := e.rows[n]; x != nil {
			for _, r := range x.Entries() {
				f(x, r)
			}
		}
	}
}

// add adds a row to the answer.
func (e *explainer) add(x *Index, r *Entry) {
	e.out.Rows = append(e.out.Rows, Detail{RowRef: r.RowRef, Columns: Columns(r.Type, r.Model), ReferredBy: x.referring(r)})
}

// of adds the rows of an object, and says what it is.
func (e *explainer) of(o Object, what string) {
	e.out.Object, e.out.What = o, what
	e.each(func(x *Index, r *Entry) {
		if r.Object == o {
			e.add(x, r)
		}
	})
}

// named are rows of that name: ports, switches, routers, ACLs, sets and groups.
func (e *explainer) named(name string) {
	var objects []Object
	e.each(func(x *Index, r *Entry) {
		if r.Name != name {
			return
		}
		e.add(x, r)
		if r.Object != (Object{}) && !slices.Contains(objects, r.Object) {
			objects = append(objects, r.Object)
		}
	})
	if len(e.out.Rows) == 0 {
		return
	}
	first := e.out.Rows[0]
	e.out.What = fmt.Sprintf("%s %s", kindOf(first.Table), name)
	if len(objects) == 1 {
		e.out.Object = objects[0]
		e.out.What += ", made for " + objects[0].String()
	}
	if first.Rule != nil {
		e.out.What += ", " + first.Rule.String()
	}
}

// kindOf is a table's name for people.
func kindOf(table string) string {
	switch table {
	case nb.ACLTable, nb.NATTable:
		return table
	}
	return strings.ToLower(strings.ReplaceAll(table, "_", " "))
}

// uuid is a row, or a logical flow.
func (e *explainer) uuid(ctx context.Context, uuid string) error {
	e.each(func(x *Index, r *Entry) {
		if r.UUID == uuid {
			e.row(x, r)
		}
	})
	if len(e.out.Rows) > 0 {
		return nil
	}
	return e.flows(ctx, uuid[:prefixDigits], uuid)
}

func (e *explainer) row(x *Index, r *Entry) {
	e.add(x, r)
	e.out.What = fmt.Sprintf("%s of node %s", strings.TrimSpace(kindOf(r.Table)+" "+r.Name), r.Node)
	if r.Object != (Object{}) {
		e.out.Object = r.Object
		e.out.What += ", made for " + r.Object.String()
	}
	if r.Rule != nil {
		e.out.What += ", " + r.Rule.String()
	}
}

// cookie is that of OpenFlow flows: the beginning of a logical flow's UUID, or of another
// row's of the Southbound database. Two rows can begin alike.
func (e *explainer) cookie(ctx context.Context, start string) error {
	e.each(func(x *Index, r *Entry) {
		if strings.HasPrefix(r.UUID, start) && r.Database == "sb" {
			e.row(x, r)
		}
	})
	if len(e.out.Rows) == 0 { // what people have from stage-hint
		e.each(func(x *Index, r *Entry) {
			if strings.HasPrefix(r.UUID, start) {
				e.row(x, r)
			}
		})
	}
	return e.flows(ctx, start, "")
}
