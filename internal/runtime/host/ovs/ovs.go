// Package ovs is what the host side of the network needs of the Open vSwitch database, as
// values: the settings of the switch, its bridges and their ports, and the changes that
// are made to them in one transaction.
package ovs

import (
	"maps"
	"slices"
)

// State is what the database holds.
type State struct {
	ExternalIDs map[string]string
	OtherConfig map[string]string
	Bridges     map[string]*Bridge
}

// Bridge is a bridge and its ports.
type Bridge struct {
	DatapathType string
	FailMode     string
	ExternalIDs  map[string]string
	OtherConfig  map[string]string
	Ports        map[string]*Port
}

// Port is a port; its columns are those of its interface.
type Port struct {
	Type        string // "internal", "patch", empty for a device of the host
	MAC         string // asked for, empty for the switch's choice
	MTURequest  int    // bytes, 0 for the switch's choice
	ExternalIDs map[string]string
	// OFPort is the port's number in OpenFlow; 0 until vswitchd has given one, -1 when it
	// could not.
	OFPort int
	// Error is why vswitchd could not.
	Error string
	// Bond is true when the port has several interfaces: then the other fields are empty.
	Bond bool
}

// Change is one change of the database.
type Change interface{ change() }

type (
	// SetRoot sets entries of the switch's own maps and removes others.
	SetRoot struct {
		ExternalIDs, OtherConfig map[string]string
		// RemoveExternalIDs and RemoveOtherConfig are keys.
		RemoveExternalIDs, RemoveOtherConfig []string
	}
	// PutBridge makes a bridge with its internal port, or changes the columns that are
	// given; entries of maps that are not given stay.
	PutBridge struct {
		Name, DatapathType, FailMode string
		ExternalIDs, OtherConfig     map[string]string
	}
	// PutPort makes a port, or changes the columns that are given.
	PutPort struct {
		Bridge, Name, Type, MAC string
		MTURequest              int
		ExternalIDs             map[string]string
	}
	// DeletePort removes a port from its bridge.
	DeletePort struct{ Bridge, Name string }
	// DeleteBridge removes a bridge with all its ports.
	DeleteBridge struct{ Name string }
)

func (SetRoot) change()      {}
func (PutBridge) change()    {}
func (PutPort) change()      {}
func (DeletePort) change()   {}
func (DeleteBridge) change() {}

// Port returns a port of a bridge.
func (s *State) Port(bridge, name string) (*Port, bool) {
	b, ok := s.Bridges[bridge]
	if !ok {
		return nil, false
	}
	p, ok := b.Ports[name]
	return p, ok
}

// BridgeOf is the bridge that a port of that name is on.
func (s *State) BridgeOf(port string) (string, bool) {
	for _, name := range slices.Sorted(maps.Keys(s.Bridges)) {
		if _, ok := s.Bridges[name].Ports[port]; ok {
			return name, true
		}
	}
	return "", false
}

// Lacks returns the entries of want that have does not hold.
func Lacks(have, want map[string]string) map[string]string {
	var out map[string]string
	for k, v := range want {
		if got, ok := have[k]; !ok || got != v {
			if out == nil {
				out = map[string]string{}
			}
			out[k] = v
		}
	}
	return out
}
