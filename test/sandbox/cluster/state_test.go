package cluster

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ovnkctl/ovnkctl/test/sandbox/plan"
)

func three() State {
	return State{
		Family: plan.Dual, GatewayMode: GatewayShared, CNI: CNIOvnkctl,
		Nodes: []Member{{"node1", 1}, {"node2", 2}, {"node3", 3}},
	}
}

func TestMerge(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		have State
		ask  Options
		want func(*State)
		err  string
	}{
		"a new sandbox has the defaults":      {want: func(*State) {}},
		"a second up changes nothing":         {have: three(), want: func(*State) {}},
		"the same answers change nothing":     {have: three(), ask: Options{Nodes: 3, Family: plan.Dual, GatewayMode: GatewayShared, CNI: CNIOvnkctl}, want: func(*State) {}},
		"more nodes are added":                {have: three(), ask: Options{Nodes: 4}, want: func(s *State) { s.Nodes = append(s.Nodes, Member{"node4", 4}) }},
		"the gateway mode can change":         {have: three(), ask: Options{GatewayMode: GatewayLocal}, want: func(s *State) { s.GatewayMode = GatewayLocal }},
		"nodes do not vanish by a number":     {have: three(), ask: Options{Nodes: 2}, err: "node remove"},
		"families do not change":              {have: three(), ask: Options{Family: plan.IPv6}, err: "down"},
		"unknown gateway mode":                {ask: Options{GatewayMode: "routed"}, err: "shared or local"},
		"unknown network":                     {ask: Options{CNI: "other"}, err: "ovnkctl or none"},
		"more nodes than there are addresses": {ask: Options{Nodes: 100}, err: "1 to 99"},
	}
	for name, tt := range tests {
		got, err := tt.have.merge(tt.ask)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: error %v, want %q", name, err, tt.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want := three()
		tt.want(&want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestNodesNeverShareAnIndex(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := three()
		steps := rapid.SliceOf(rapid.IntRange(0, 20)).Draw(t, "steps")
		for i, n := range steps {
			name := "n" + string(rune('a'+n))
			if m := s.find(name); m != nil && i%2 == 0 {
				keep := s.Nodes[:0:0]
				for _, x := range s.Nodes {
					if x.Name != name {
						keep = append(keep, x)
					}
				}
				s.Nodes = keep
			} else if m == nil {
				if _, err := s.add(name); err != nil {
					t.Fatal(err)
				}
			}
		}
		seen := map[int]string{}
		for _, m := range s.Nodes {
			if other, taken := seen[m.Index]; taken {
				t.Fatalf("%s and %s have index %d", other, m.Name, m.Index)
			}
			seen[m.Index] = m.Name
		}
	})
}

func TestNodeNames(t *testing.T) {
	t.Parallel()
	for name, ok := range map[string]bool{
		"node4": true, "a": true, "worker-east-1": true, "worker-east-11": false,
		"Node": false, "4node": false, "node-": false, "": false, "a.b": false, "../x": false, "node1": false,
	} {
		s := three()
		if _, err := s.add(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestStateSurvivesTheDisk(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cluster.json")
	if got, err := loadState(path); err != nil || len(got.Nodes) != 0 {
		t.Errorf("no file: %+v, %v", got, err)
	}
	if err := three().save(path); err != nil {
		t.Fatal(err)
	}
	got, err := loadState(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(three(), got); diff != "" {
		t.Error(diff)
	}
}
