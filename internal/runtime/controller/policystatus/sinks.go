package policystatus

import (
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/policy"
	"github.com/ovnkctl/ovnkctl/internal/runtime/kube"
	"github.com/ovnkctl/ovnkctl/internal/world"
	"github.com/ovnkctl/ovnkctl/internal/world/live"
)

// sink is the Keeper as a sink of policies of one kind.
type sink struct {
	*Keeper
	kind world.Kind
}

func (s sink) key(n live.Name) world.PolicyKey {
	return world.PolicyKey{Kind: s.kind, Namespace: n.Namespace, Name: n.Name}
}

// Set implements live.Sink.
func (s sink) Set(o *object) {
	s.mu.Lock()
	if old := s.objects[o.key()]; old != nil && old.policy.UID == o.policy.UID {
		o.bad, o.told, o.wrote, o.wroteAt = old.bad, old.told, old.wrote, old.wroteAt
		if o.wrote != nil && (o.said.same(*o.wrote) || o.wroteAt == "") {
			o.wrote, o.wroteAt = nil, ""
		}
	}
	s.objects[o.key()] = o
	s.mu.Unlock()
	s.store.SetPolicy(o.policy)
	s.touch(o.key())
}

// Delete implements live.Sink.
func (s sink) Delete(n live.Name) {
	s.mu.Lock()
	delete(s.objects, s.key(n))
	s.mu.Unlock()
	s.store.DeletePolicy(s.key(n))
}

// Names implements live.Sink.
func (s sink) Names() (names []live.Name) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.objects {
		if k.Kind == s.kind {
			names = append(names, live.Name{Namespace: k.Namespace, Name: k.Name})
		}
	}
	return names
}

// namespaces is the Keeper as a sink of namespaces: what one says of its policies is told
// once, too. Nothing is kept of those that are well.
type namespaces struct{ *Keeper }

// Set implements live.Sink.
func (s namespaces) Set(n *world.Namespace) {
	reasons := policy.OfNamespace(n)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(reasons) == 0 {
		delete(s.namespaces, n.Name)
		return
	}
	r := reasons[0]
	note := r.Message + "; " + r.Remedy
	if s.namespaces[n.Name] == n.UID+note {
		return
	}
	s.namespaces[n.Name] = n.UID + note
	s.c.Logger.Warn("namespace not as asked for", "namespace", n.Name, "code", r.Code, "reason", r.Message, "remedy", r.Remedy)
	s.c.Events.Record(kube.Event{Object: r.Object, Warning: true, Reason: r.Code, Action: action, Note: note, Once: "annotation"})
}

// Delete implements live.Sink.
func (s namespaces) Delete(n live.Name) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.namespaces, n.Name)
}

// Names implements live.Sink.
func (s namespaces) Names() (names []live.Name) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.namespaces {
		names = append(names, live.Name{Name: name})
	}
	return names
}
