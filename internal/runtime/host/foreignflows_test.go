package host

import (
	"slices"
	"testing"
)

// Flows of others on the bridge survive, whatever happens to ours.
func TestForeignFlowsStay(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	settle(t, m.reconciler(t))
	const foreign = "cookie=0x77,table=0,priority=1000,udp,tp_dst=53,actions=drop"
	m.flows.Add("br-ex", foreign)
	m.quiet(t, m.reconciler(t))
	before := m.flows.Flows("br-ex")
	m.flows.Delete("br-ex")
	m.flows.Add("br-ex", foreign, "cookie=0x77,table=0,priority=0,actions=drop")
	settle(t, m.reconciler(t))
	after := m.flows.Flows("br-ex")
	if !slices.Equal(before, after) || !slices.Contains(after, foreign) {
		t.Errorf("%q", after)
	}
}
