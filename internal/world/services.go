package world

import (
	"maps"
	"reflect"
	"slices"
	"strings"
)

type sliceKey struct{ namespace, name string }

// SetService adds or replaces a service. One that is equal to what is there is no change.
func (s *Store) SetService(n *Service) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, changed := put(s.services, n.Key(), n); changed {
		s.index.replaceService(old, n)
		s.publish(Change{Ref: n.Ref(), OldService: old, NewService: n})
	}
}

// DeleteService removes a service.
func (s *Store) DeleteService(key ServiceKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := take(s.services, key); ok {
		s.index.replaceService(old, nil)
		s.publish(Change{Ref: old.Ref(), OldService: old})
	}
}

// SetSlice adds or replaces a slice. One that is equal to what is there is no change.
func (s *Store) SetSlice(n *EndpointSlice) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, changed := put(s.slices, sliceKey{n.Namespace, n.Name}, n); changed {
		s.index.replaceSlice(old, n)
		s.publish(Change{Ref: n.Ref(), OldSlice: old, NewSlice: n})
	}
}

// DeleteSlice removes a slice.
func (s *Store) DeleteSlice(namespace, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := take(s.slices, sliceKey{namespace, name}); ok {
		s.index.replaceSlice(old, nil)
		s.publish(Change{Ref: old.Ref(), OldSlice: old})
	}
}

// SetServiceCIDR adds or replaces a range of service addresses.
func (s *Store) SetServiceCIDR(n *ServiceCIDR) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, changed := put(s.cidrs, n.Name, n); changed {
		s.publish(Change{Ref: n.Ref(), OldCIDR: old, NewCIDR: n})
	}
}

// DeleteServiceCIDR removes a range.
func (s *Store) DeleteServiceCIDR(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := take(s.cidrs, name); ok {
		s.publish(Change{Ref: old.Ref(), OldCIDR: old})
	}
}

// put replaces what has the key, unless it is equal.
func put[K comparable, T any](m map[K]*T, key K, value *T) (old *T, changed bool) {
	old = m[key]
	if reflect.DeepEqual(old, value) {
		return old, false
	}
	m[key] = value
	return old, true
}

func take[K comparable, T any](m map[K]*T, key K) (old *T, ok bool) {
	old, ok = m[key]
	delete(m, key)
	return old, ok
}

// Service returns the service of that name.
func (v View) Service(key ServiceKey) (*Service, bool) {
	s, ok := v.s.services[key]
	return s, ok
}

// Services yields all services in no particular order.
func (v View) Services(yield func(*Service) bool) {
	for _, s := range v.s.services {
		if !yield(s) {
			return
		}
	}
}

// Slices returns the slices of a service in order of their names; the service need not
// exist.
func (v View) Slices(key ServiceKey) []*EndpointSlice {
	names := v.s.index.slicesByService[key]
	if len(names) == 0 {
		return nil
	}
	out := make([]*EndpointSlice, 0, len(names))
	for _, name := range names {
		out = append(out, v.s.slices[sliceKey{key.Namespace, name}])
	}
	slices.SortFunc(out, func(a, b *EndpointSlice) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// EndpointSlices yields all slices in no particular order.
func (v View) EndpointSlices(yield func(*EndpointSlice) bool) {
	for _, s := range v.s.slices {
		if !yield(s) {
			return
		}
	}
}

// ServiceCIDRs returns the ranges of service addresses in order of their names.
func (v View) ServiceCIDRs() []*ServiceCIDR {
	return slices.SortedFunc(maps.Values(v.s.cidrs), func(a, b *ServiceCIDR) int { return strings.Compare(a.Name, b.Name) })
}
