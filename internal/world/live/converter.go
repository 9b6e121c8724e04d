package live

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ovnkctl/ovnkctl/internal/world"
)

// keepSiblings bounds the pods remembered for others of the same owner: a list comes in
// order of names, so that those of one owner follow each other.
const keepSiblings = 1024

// converter converts pods, one after the other.
type converter struct {
	node string // pods of other nodes are kept small; empty for none
	// recent and older have a pod of each controller, by its UID.
	recent, older map[types.UID]*world.Pod
}

func (c *converter) pod(o *corev1.Pod) *world.Pod {
	if c.node == "" || o.Spec.NodeName == c.node {
		return world.FromPod(o)
	}
	p := world.FromRemotePod(o)
	if owner := metav1.GetControllerOfNoCopy(o); owner != nil {
		c.share(p, owner.UID)
	}
	return p
}

// share has the pod share labels and ports with another of its owner if theirs are the
// same: they are most of what is kept of a pod.
func (c *converter) share(p *world.Pod, owner types.UID) {
	sibling, ok := c.recent[owner]
	if !ok {
		sibling, ok = c.older[owner]
	}
	if ok && slices.Equal(sibling.Ports, p.Ports) {
		p.Ports = sibling.Ports
	}
	if ok && maps.Equal(sibling.Labels, p.Labels) {
		p.Labels = sibling.Labels
	}
	if len(c.recent) >= keepSiblings {
		c.recent, c.older = nil, c.recent
	}
	if c.recent == nil {
		c.recent = map[types.UID]*world.Pod{}
	}
	c.recent[owner] = p
}
