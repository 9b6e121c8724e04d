// Package feature is the contract between what the network should be (one package
// per feature below this folder, all pure) and the engine that makes it so.
package feature

import (
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/ovn/rows"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// Feature turns the world into the rows that one key owns. It has no client, clock,
// log or global state, so the same code serves the daemons, what-if and drift.
type Feature interface {
	// Name is a short constant word; it is part of the owner written into rows.
	Name() string
	// Keys tells which keys a change of the world touches.
	Keys(world.View, world.Change) []Key
	// Desired computes the rows of one key; no rows means that the key owns nothing
	// (any more). Invalid input is a Reason, never a panic or half a row.
	Desired(world.View, Key) (Output, []Reason)
}

// Key is what a feature computes at a time, usually a Kubernetes object.
type Key struct {
	// Network is the network's name, empty for the default network.
	Network   string
	Namespace string // empty for cluster-scoped objects
	Name      string
}

// String is "name", "namespace/name" or "namespace/name@network".
func (k Key) String() string {
	s := k.Name
	if k.Namespace != "" {
		s = k.Namespace + "/" + s
	}
	if k.Network != "" {
		s += "@" + k.Network
	}
	return s
}

// ParseKey reads the form that String writes.
func ParseKey(s string) Key {
	var k Key
	s, k.Network, _ = strings.Cut(s, "@")
	if ns, name, ok := strings.Cut(s, "/"); ok {
		k.Namespace, k.Name = ns, name
	} else {
		k.Name = s
	}
	return k
}

// Output is what one key wants, by database.
type Output struct {
	NB rows.Set // OVN_Northbound
	SB rows.Set // OVN_Southbound: only what a CMS must write there (remote chassis)
}

// Reason tells an operator why a key could not be computed in full. The engine makes it
// a condition, an event on Object and a metric.
type Reason struct {
	Code    string          // CamelCase, stable, e.g. "InvalidSubnetAnnotation"
	Object  world.ObjectRef // the object to mend
	Message string          // what is wrong, with the decisive value
	Remedy  string          // what to do next
}
