// Package outline finds the tree behind the indented text of ovn-trace and ofproto/trace.
//
// Both print a tree with the same rule. A node at level l is in column 4l if it is the last
// of its siblings and may have children, in column 4(l+1) otherwise; its children are at
// level l, or l+2. So a long chain does not wander to the right, and a child can be in the
// same column as its parent:
//
//	ingress(dp="n1", inport="p11")        the last sibling: its child is at the same level
//	 0. ls_in_check_port_sec: …           the last sibling, too
//	    reg0[15] = check_in_port_sec();   a leaf
//	    next;
//	 5. ls_in_pre_lb: …                   a child of table 0
//
// What a line belongs to follows from the columns of its parent's other children.
package outline

// step is how many columns a level has.
const step = 4

// Line is one line of text that stands for a node.
type Line struct {
	Column int    // in blanks
	Leaf   bool   // of a kind that has no children
	Text   string // without the blanks
	Number int    // in the text, from 1
}

// Node is a node of the tree.
type Node struct {
	Line
	Children []*Node
}

// Build makes the tree. Lines that are in a column where nothing can be are roots, and
// listed as misplaced.
func Build(lines []Line) (roots []*Node, misplaced []Line) {
	var b builder
	for _, l := range lines {
		n := &Node{Line: l}
		if parent := b.parent(l); parent != nil {
			parent.Children = append(parent.Children, n)
		} else {
			if len(roots) > 0 && l.Column > 0 {
				misplaced = append(misplaced, l)
			}
			roots = append(roots, n)
		}
		if !l.Leaf {
			b.stack = append(b.stack, &open{node: n, last: unknown})
		}
	}
	return roots, misplaced
}

// last tells whether a node is the last of its siblings, which is known only from where its
// children are.
type last int8

const (
	unknown last = iota
	yes
	no
)

// open is a node that can have further children.
type open struct {
	node *Node
	last last
}

// builder has the open nodes, the innermost last.
type builder struct{ stack []*open }

// parent is the innermost open node that the line can be a child of. Nodes within it are
// closed.
func (b *builder) parent(l Line) *Node {
	for len(b.stack) > 0 {
		top := b.stack[len(b.stack)-1]
		if top.takes(l) {
			return top.node
		}
		b.close()
	}
	return nil
}

// close takes the innermost node away. What was not known of it follows: a node without
// children is the last of its siblings, as all further lines would be its children's, and
// the first child of a parent that is not known either is in the next column for one of two
// reasons.
func (b *builder) close() {
	top := b.stack[len(b.stack)-1]
	b.stack = b.stack[:len(b.stack)-1]
	if top.last == unknown {
		top.last = yes
	}
	if len(b.stack) == 0 {
		return
	}
	if parent := b.stack[len(b.stack)-1]; parent.last == unknown {
		parent.last = yes
		if top.last == yes {
			parent.last = no
		}
	}
}

// takes tells whether the line can be the node's child, and notes what follows from that.
func (o *open) takes(l Line) bool {
	d := l.Column - o.node.Column
	switch o.last {
	case yes:
		return d == step || d == 0 && !l.Leaf
	case no:
		return d == 2*step || d == step && !l.Leaf
	}
	switch {
	case len(o.node.Children) > 0: // one, in the next column
		return d == step && !l.Leaf
	case l.Leaf && d == step, !l.Leaf && d == 0:
		o.last = yes
		return true
	case d == 2*step:
		o.last = no
		return true
	}
	return d == step
}
