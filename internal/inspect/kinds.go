package inspect

import (
	"context"
	"errors"
	"slices"

	"github.com/ovnkctl/ovnkctl/internal/world"
)

// Resource is a kind of Kubernetes objects, as the API calls it.
type Resource string

// The kinds that snapshots have. The last three are those of an Installation.
const (
	Nodes                        Resource = "nodes"
	Namespaces                   Resource = "namespaces"
	Pods                         Resource = "pods"
	Services                     Resource = "services"
	EndpointSlices               Resource = "endpointslices"
	ServiceCIDRs                 Resource = "servicecidrs"
	NetworkPolicies              Resource = "networkpolicies"
	AdminNetworkPolicies         Resource = "adminnetworkpolicies"
	BaselineAdminNetworkPolicies Resource = "baselineadminnetworkpolicies"
	ClusterNetworkPolicies       Resource = "clusternetworkpolicies"
	EgressFirewalls              Resource = "egressfirewalls"
	ConfigMaps                   Resource = "configmaps"
	DaemonSets                   Resource = "daemonsets"
	Deployments                  Resource = "deployments"
	Events                       Resource = "events"
)

// Objects are the Kubernetes objects of the named kinds, and maybe of others; all kinds if
// none is named. Those that are asked for together are read at the same time, each once.
// Kinds that could not be listed are problems.
func (s *Snapshot) Objects(ctx context.Context, kinds ...Resource) (*Objects, error) {
	e, err := s.load(ctx, named(kinds, false))
	return &e.Objects, err
}

// Installation is what runs the network.
func (s *Snapshot) Installation(ctx context.Context) (*Installation, error) {
	e, err := s.load(ctx, named(nil, true))
	return &e.Installation, err
}

// World is the Kubernetes objects of the named kinds, and maybe of others, as the runtime
// sees them, with the runtime's own converters and the network of the cluster's
// configuration; all kinds if none is named.
func (s *Snapshot) World(ctx context.Context, kinds ...Resource) (*world.Store, error) {
	if len(kinds) > 0 {
		kinds = append(kinds[:len(kinds):len(kinds)], ConfigMaps)
	}
	wanted := named(kinds, false)
	if _, err := s.load(ctx, wanted); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if missing := slices.ContainsFunc(wanted, func(r *resource) bool { return !s.worldOf[r] }); !missing {
		return s.world, nil
	}
	w, err := s.objects.World()
	if w == nil {
		return nil, err
	}
	if err != nil {
		s.noteLocked(problemOf("", "configuration of the network", err))
	}
	s.world, s.worldOf = w, map[*resource]bool{}
	for r, l := range s.loads {
		s.worldOf[r] = l.over()
	}
	return w, nil
}

// named are the kinds of these names; without names all that are, or are not, late.
func named(kinds []Resource, late bool) []*resource {
	return slices.DeleteFunc(slices.Clone(resources), func(r *resource) bool {
		if len(kinds) > 0 {
			return !slices.Contains(kinds, Resource(r.plural))
		}
		return r.late != late
	})
}

// loading is a kind that is being read, or that was.
type loading struct {
	done chan struct{}
	err  error // valid when done is closed
}

func (l *loading) over() bool {
	select {
	case <-l.done:
		return l.err == nil
	default:
		return false
	}
}

// load reads kinds that nobody has read, and waits for those that others are reading. What
// somebody gave up is read again for those who did not.
func (s *Snapshot) load(ctx context.Context, kinds []*resource) (everything, error) {
	for {
		mine, others := s.claim(kinds)
		err := s.list(ctx, mine)
		for _, l := range others {
			select {
			case <-l.done:
				err = errors.Join(err, l.err)
			case <-ctx.Done():
				return everything{}, ctx.Err()
			}
		}
		switch {
		case err == nil:
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.objects, nil
		case ctx.Err() == nil && errors.Is(err, context.Canceled):
		default:
			return everything{}, first(err)
		}
	}
}

// first is one of several errors, which for kinds that were asked for together are all alike.
func first(err error) error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok { //nolint:errorlint // its parts are what is wanted
		return joined.Unwrap()[0]
	}
	return err
}

// claim divides kinds into those that the caller has to read, and those that others read.
func (s *Snapshot) claim(kinds []*resource) (mine []*resource, others []*loading) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range kinds {
		if l := s.loads[r]; l != nil {
			others = append(others, l)
			continue
		}
		s.loads[r] = &loading{done: make(chan struct{})}
		mine = append(mine, r)
	}
	return mine, others
}

// list reads kinds that were claimed.
func (s *Snapshot) list(ctx context.Context, kinds []*resource) error {
	if len(kinds) == 0 {
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	e := &everything{}
	problems, err := s.source.read(bounded, e, kinds)
	err = timely(bounded, err, "Kubernetes objects", "")
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range problems {
		s.noteLocked(p)
	}
	for _, r := range kinds {
		r.take(&s.objects, e)
		l := s.loads[r]
		if l.err = err; errors.Is(err, context.Canceled) {
			delete(s.loads, r)
		}
		close(l.done)
	}
	return err
}
