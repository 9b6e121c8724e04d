package ovs_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/ovntest"
	"github.com/ovnkctl/ovnkctl/internal/ovn/vswitch"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/ovs"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/ovs/ovstest"
)

// connect opens a database as the node's program does, with its one root row.
func connect(t *testing.T, s *ovntest.Server) *ovs.Client {
	t.Helper()
	var tables []string
	for table := range ovs.Columns() {
		tables = append(tables, table)
	}
	db := s.ConnectWith(t, ovn.Config{Database: ovn.OpenVSwitch(), Tables: tables, Columns: ovs.Columns()})
	if _, err := db.Transact(t.Context(), "init", ovn.Insert(&vswitch.OpenvSwitch{NextCfg: 1}, "root")); err != nil {
		t.Fatal(err)
	}
	return &ovs.Client{DB: db, Only: map[string][]string{"br-int": {"br-int", "mp0"}}}
}

// transactions are what a host's life does to the database. The fake has to end where the
// client does after each.
var transactions = [][]ovs.Change{
	{
		ovs.SetRoot{ExternalIDs: map[string]string{"a": "1", "b": "2"}, OtherConfig: map[string]string{"tso": "true"}},
		ovs.PutBridge{Name: "br-ex", DatapathType: "netdev", FailMode: "standalone", ExternalIDs: map[string]string{"uplink": "eth0"}, OtherConfig: map[string]string{"hwaddr": "02:00:00:00:00:01"}},
		ovs.PutPort{Bridge: "br-ex", Name: "br-ex", Type: "internal", MTURequest: 1500},
		ovs.PutBridge{Name: "br-int", DatapathType: "netdev", FailMode: "secure"},
		ovs.PutPort{Bridge: "br-int", Name: "mp0", Type: "internal", MAC: "0a:58:00:00:00:01", MTURequest: 1400, ExternalIDs: map[string]string{"iface-id": "k8s-n1"}},
	},
	{ovs.PutPort{Bridge: "br-ex", Name: "eth0"}},
	{ovs.SetRoot{ExternalIDs: map[string]string{"a": "3"}, RemoveExternalIDs: []string{"b", "none"}}},
	{ovs.PutBridge{Name: "br-ex", FailMode: "secure", ExternalIDs: map[string]string{"more": "x"}}},
	{ovs.PutPort{Bridge: "br-int", Name: "mp0", MTURequest: 1300, ExternalIDs: map[string]string{"iface-id": "k8s-n2"}}},
	{ovs.DeletePort{Bridge: "br-ex", Name: "eth0"}, ovs.DeletePort{Bridge: "br-ex", Name: "none"}, ovs.DeletePort{Bridge: "br-int", Name: "mp0"}},
	{ovs.PutPort{Bridge: "br-int", Name: "mp0", Type: "internal"}},
	{ovs.DeleteBridge{Name: "br-ex"}, ovs.DeleteBridge{Name: "none"}, ovs.SetRoot{RemoveOtherConfig: []string{"tso"}}},
	{},
}

func sameAsFake(t *testing.T, c *ovs.Client) {
	t.Helper()
	fake := ovstest.New(nil)
	for i, changes := range transactions {
		if err := c.Apply(t.Context(), "test", changes); err != nil {
			t.Fatalf("transaction %d: %v", i, err)
		}
		if err := fake.Apply(t.Context(), "test", changes); err != nil {
			t.Fatalf("transaction %d: fake: %v", i, err)
		}
		got, err := c.State(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want, _ := fake.State(t.Context())
		if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("transaction %d (-fake +client)\n%s", i, d)
		}
	}
	if err := c.Apply(t.Context(), "test", []ovs.Change{ovs.PutPort{Bridge: "none", Name: "x"}}); err == nil {
		t.Error("a port was put on no bridge")
	}
}

func TestClientIsLikeTheFake(t *testing.T) {
	t.Parallel()
	sameAsFake(t, connect(t, ovntest.OVS(t)))
}

func TestClientOnRealServer(t *testing.T) {
	t.Parallel()
	schema, err := os.ReadFile("../../../ovn/schema/vswitch.ovsschema")
	if err != nil {
		t.Fatal(err)
	}
	sameAsFake(t, connect(t, ovntest.Real(t, ovn.OpenVSwitch(), schema)))
}

// Pods' ports come and go unnoticed; what the host looks at does not.
func TestWatch(t *testing.T) {
	t.Parallel()
	c := connect(t, ovntest.OVS(t))
	if err := c.Apply(t.Context(), "test", transactions[0]); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	woken := make(chan struct{}, 100)
	go func() { _ = c.Watch(ctx, func() { woken <- struct{}{} }) }()
	<-woken // it begins with one
	apply := func(changes ...ovs.Change) int {
		if err := c.Apply(t.Context(), "test", changes); err != nil {
			t.Fatal(err)
		}
		return len(woken)
	}
	drain := func() {
		for len(woken) > 0 {
			<-woken
		}
	}
	pod := ovs.PutPort{Bridge: "br-int", Name: "0123456789abcde", ExternalIDs: map[string]string{"iface-id": "ns_pod"}}
	if apply(pod) > 0 {
		t.Error("a new pod woke")
	}
	pod.ExternalIDs = map[string]string{"ovn-installed": "true"}
	if apply(pod) > 0 {
		t.Error("a pod's installation woke")
	}
	if apply(ovs.DeletePort{Bridge: "br-int", Name: pod.Name}) > 0 {
		t.Error("a pod's end woke")
	}
	for _, change := range []ovs.Change{
		ovs.PutPort{Bridge: "br-int", Name: "mp0", MTURequest: 1300},
		ovs.DeletePort{Bridge: "br-int", Name: "mp0"},
		ovs.PutPort{Bridge: "br-ex", Name: "eth0"},
		ovs.PutPort{Bridge: "br-ex", Name: "eth0", MTURequest: 1400},
		ovs.DeletePort{Bridge: "br-ex", Name: "eth0"},
		ovs.SetRoot{ExternalIDs: map[string]string{"x": "y"}},
		ovs.DeleteBridge{Name: "br-int"},
	} {
		drain()
		if apply(change); len(woken) == 0 {
			// The cache has the change when Apply returns; telling of it may follow.
			select {
			case <-woken:
			case <-time.After(10 * time.Second):
				t.Errorf("%T%+v did not wake", change, change)
			}
		}
	}
}

func TestNotConnected(t *testing.T) {
	t.Parallel()
	s := ovntest.OVS(t)
	c := connect(t, s)
	s.Shut()
	for c.DB.Online() {
		time.Sleep(time.Millisecond) // until the connection is seen to be gone
	}
	if _, err := c.State(t.Context()); err == nil {
		t.Error("a state without a connection")
	}
}
