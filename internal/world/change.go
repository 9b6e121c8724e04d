package world

// Kind is a kind of object that the world holds.
type Kind string

// The kinds of objects.
const (
	KindNode Kind = "Node"
	KindPod  Kind = "Pod"
)

// ObjectRef names one Kubernetes object.
type ObjectRef struct {
	Kind      Kind
	Namespace string
	Name      string
	UID       string
}

// Change tells that one object appeared, changed or went. The objects are shared
// and must not be modified.
type Change struct {
	Ref ObjectRef
	// Initial marks the objects that were there when the source started: the engine
	// handles them behind live changes.
	Initial bool
	// OldNode and NewNode are set for KindNode, OldPod and NewPod for KindPod; nil
	// where there was or is none.
	OldNode, NewNode *Node
	OldPod, NewPod   *Pod
}
