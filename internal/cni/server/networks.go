//go:build linux

package server

import (
	"context"

	"github.com/ovnkctl/ovnkctl/internal/cni/plumb"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// Pod is a pod as the container runtime names it. The UID is empty if the runtime passes
// none, and another than the API's for static pods.
type Pod struct{ Namespace, Name, UID string }

// String is "namespace/name".
func (p Pod) String() string { return p.Namespace + "/" + p.Name }

func (p Pod) ref() world.ObjectRef {
	return world.ObjectRef{Kind: world.KindPod, Namespace: p.Namespace, Name: p.Name, UID: p.UID}
}

// Attachment is what the pod network has for a pod.
type Attachment struct {
	UID     string // as the API has it
	Network world.PodNetwork
	// IngressRate and EgressRate are limits in bits per second, 0 for none.
	IngressRate, EgressRate int64
}

// Networks is what the server asks the rest of the node process. See World.
type Networks interface {
	// Attachment waits until the pod is known and has addresses. It fails at once if it
	// never will, e.g. because the pod was deleted, and when ctx ends it says what was
	// missing.
	Attachment(ctx context.Context, pod Pod) (Attachment, error)
	// Programmed waits until the Northbound database has the pod's port. When ctx ends
	// it says why it has not.
	Programmed(ctx context.Context, pod Pod) error
	// OnGone has f called, once and quickly, with the reason when the pod loses its claim
	// to a port: deleted, replaced or finished.
	OnGone(pod Pod, f func(why error)) (cancel func())
	// Exists tells whether the pod is there; known is false while that cannot be said.
	Exists(pod Pod) (exists, known bool)
}

// Links makes and checks the interfaces of pods. See Netlink.
type Links interface {
	// Connect makes the veth pair and tells whether it is new.
	Connect(netns string, i plumb.Interface) (created bool, err error)
	// Configure gives the pod's end its addresses and routes.
	Configure(netns string, i plumb.Interface) error
	// Check returns everything that is not as it should be.
	Check(netns string, i plumb.Interface) error
	// Disconnect deletes the pair; the namespace may be gone or empty.
	Disconnect(netns, hostName, podName string) error
	// Veths are the names of the node's ends.
	Veths() (map[string]bool, error)
}

// Netlink is Links by netlink.
type Netlink struct{ Host *plumb.Host }

var _ Links = Netlink{}

// Connect implements Links.
func (n Netlink) Connect(netns string, i plumb.Interface) (created bool, err error) {
	pod, err := plumb.Open(netns)
	if err != nil {
		return false, err
	}
	defer pod.Close()
	return n.Host.Connect(pod, i)
}

// Configure implements Links.
func (n Netlink) Configure(netns string, i plumb.Interface) error {
	pod, err := plumb.Open(netns)
	if err != nil {
		return err
	}
	defer pod.Close()
	return pod.Configure(i)
}

// Check implements Links.
func (n Netlink) Check(netns string, i plumb.Interface) error {
	pod, err := plumb.Open(netns)
	if err != nil {
		return err
	}
	defer pod.Close()
	return n.Host.Check(pod, i)
}

// Disconnect implements Links.
func (n Netlink) Disconnect(netns, hostName, podName string) error {
	if netns != "" {
		// Whatever is wrong with the namespace, the node's end can go.
		if pod, err := plumb.Open(netns); err == nil {
			defer pod.Close()
			return n.Host.Disconnect(pod, hostName, podName)
		}
	}
	return n.Host.Disconnect(nil, hostName, podName)
}

// Veths implements Links.
func (n Netlink) Veths() (map[string]bool, error) { return n.Host.Veths() }
