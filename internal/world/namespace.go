package world

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Namespace is what the features need of a Namespace object.
type Namespace struct {
	Name, UID string
	Labels    map[string]string
	// Annotations are those of k8s.ovn.org, as they stand: each feature reads its own, such
	// as k8s.ovn.org/acl-logging and k8s.ovn.org/multicast-enabled. It is nil for none.
	Annotations map[string]string
}

// ovnDomain is the prefix of OVN-Kubernetes' annotations.
const ovnDomain = "k8s.ovn.org/"

// FromNamespace takes what features need out of a Namespace.
func FromNamespace(o *corev1.Namespace) *Namespace {
	n := &Namespace{Name: o.Name, UID: string(o.UID), Labels: o.Labels}
	for key, value := range o.Annotations {
		if strings.HasPrefix(key, ovnDomain) {
			if n.Annotations == nil {
				n.Annotations = map[string]string{}
			}
			n.Annotations[key] = value
		}
	}
	return n
}

// Ref names the namespace.
func (n *Namespace) Ref() ObjectRef { return ObjectRef{Kind: KindNamespace, Name: n.Name, UID: n.UID} }

// SetNamespace adds or replaces a namespace. One that is equal to what is there is no
// change.
func (s *Store) SetNamespace(n *Namespace) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, changed := put(s.namespaces, n.Name, n); changed {
		effects := s.selections.replaceNamespace(old, n)
		s.publish(Change{Ref: n.Ref(), OldNamespace: old, NewNamespace: n, Policy: PolicyChange{PolicyEffects: effects}})
	}
}

// DeleteNamespace removes a namespace. Its pods go by themselves, before or after it.
func (s *Store) DeleteNamespace(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := take(s.namespaces, name); ok {
		effects := s.selections.replaceNamespace(old, nil)
		s.publish(Change{Ref: old.Ref(), OldNamespace: old, Policy: PolicyChange{PolicyEffects: effects}})
	}
}

// Namespace returns the namespace of that name.
func (v View) Namespace(name string) (*Namespace, bool) {
	n, ok := v.s.namespaces[name]
	return n, ok
}

// Namespaces yields all namespaces in no particular order.
func (v View) Namespaces(yield func(*Namespace) bool) {
	for _, n := range v.s.namespaces {
		if !yield(n) {
			return
		}
	}
}
