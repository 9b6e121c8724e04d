package diagnose

import "testing"

// TestDriftBehindTunnels: rows of a pod that are not in order do not explain that two nodes do
// not hear of each other; rows of one of the nodes do.
func TestDriftBehindTunnels(t *testing.T) {
	t.Parallel()
	lost := Finding{Code: tunnelTraffic.Code, Node: "n1", Object: nodeObject("n2"), peers: []string{"n2"}}
	for name, c := range map[string]struct {
		drifted   *Object
		explained bool
	}{
		"a pod":            {&Object{"Pod", "shop", "web"}, false},
		"one of the nodes": {nodeObject("n2"), true},
		"another node":     {nodeObject("n3"), false},
	} {
		x := newCauses([]Finding{{Code: drift.Code, Node: "n1", Object: c.drifted}, lost})
		if got := x.of(1, tunnelTraffic.causes) == 0; got != c.explained {
			t.Errorf("%s: explained is %t, want %t", name, got, c.explained)
		}
	}
}
