package world

// Kind is a kind of object that the world holds.
type Kind string

// The kinds of objects.
const (
	KindNode          Kind = "Node"
	KindPod           Kind = "Pod"
	KindService       Kind = "Service"
	KindEndpointSlice Kind = "EndpointSlice"
	KindServiceCIDR   Kind = "ServiceCIDR"
	KindNamespace     Kind = "Namespace"
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
	// Old and new are set for the Kind; nil where there was or is none.
	OldNode, NewNode       *Node
	OldPod, NewPod         *Pod
	OldService, NewService *Service
	OldSlice, NewSlice     *EndpointSlice
	OldCIDR, NewCIDR       *ServiceCIDR

	OldNamespace, NewNamespace *Namespace

	// Policy is what changes for policies, whatever the kind of object.
	Policy PolicyChange
}
