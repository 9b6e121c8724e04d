package live

import (
	"sync"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/world"
)

// grace is for how long the first connections to a service that woke up wait for its pods,
// instead of being refused.
const grace = 30 * time.Second

// services is the store as a sink of services. It remembers which woke up lately: all nodes
// see that by themselves, and nobody has to write it down.
type services struct {
	*world.Store

	mu   sync.Mutex // of Set, Delete and the end of a grace
	woke map[world.ServiceKey]time.Time
}

func newServices(s *world.Store) *services {
	return &services{Store: s, woke: map[world.ServiceKey]time.Time{}}
}

// Set implements Sink.
func (s *services) Set(n *world.Service) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key, now := n.Key(), time.Now()
	woke := s.woke[key]
	switch old := s.service(key); {
	case n.Idled:
		woke = time.Time{}
	case old != nil && old.Idled && old.UID == n.UID:
		woke = now
	case n.WokeAt != 0 && woke.IsZero():
		woke = time.Unix(n.WokeAt, 0)
		if woke.After(now) { // by another machine's clock
			woke = now
		}
	}
	if left := grace - now.Sub(woke); left > 0 {
		n.Waking, s.woke[key] = true, woke
		time.AfterFunc(left, func() { s.awake(n) })
	} else {
		delete(s.woke, key)
	}
	s.SetService(n)
}

// awake ends the grace of a service, unless there is news of it.
func (s *services) awake(n *world.Service) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.service(n.Key()) != n {
		return
	}
	delete(s.woke, n.Key())
	awake := *n
	awake.Waking = false
	s.SetService(&awake)
}

// Delete implements Sink.
func (s *services) Delete(n Name) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.woke, world.ServiceKey(n))
	s.DeleteService(world.ServiceKey(n))
}

func (s *services) service(key world.ServiceKey) (service *world.Service) {
	s.Read(func(v world.View) { service, _ = v.Service(key) })
	return service
}

// Names implements Sink.
func (s *services) Names() (names []Name) {
	s.Read(func(v world.View) {
		for n := range v.Services {
			names = append(names, Name(n.Key()))
		}
	})
	return names
}
