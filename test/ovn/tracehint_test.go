//go:build ovn && linux

package ovn

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ovnkctl/ovnkctl/internal/explain"
	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
)

// TestReplacedACLIsKnown: when ovn-northd computes all anew, it keeps the logical flow of an
// ACL that was replaced by an equal one, and with it the hint of the row that is gone.
func TestReplacedACLIsKnown(t *testing.T) {
	t.Parallel()
	l := newLogical(t)
	nbctl := func(args ...string) string {
		return strings.TrimSpace(l.run("ovn-nbctl", append([]string{"--db=" + l.nb.Backend(), "--timeout=60"}, args...)...))
	}
	northd := func(command string) { l.run("ovn-appctl", "-t", filepath.Join(l.dir, "northd.ctl"), command) }
	acl := []string{
		"--", "--id=@acl", "create", "ACL", "direction=to-lport", "priority=900", "tier=1", `match="outport == @pg && ip"`, "action=drop",
		"--", "add", "Port_Group", "pg", "acls", "@acl",
	}
	nbctl("ls-add", "s", "--", "lsp-add", "s", "p", "--", "pg-add", "pg", "p")
	old := nbctl(acl[1:]...)
	nbctl("--wait=sb", "sync")
	northd("pause")
	nbctl(append([]string{"remove", "Port_Group", "pg", "acls", old}, acl...)...)
	northd("resume")
	nbctl("--wait=sb", "sync")

	var flow struct {
		Data [][3]any `json:"data"`
	}
	text := l.run("ovn-sbctl", "--db="+l.sb.Backend(), "--format=json", "--columns=match,priority,external_ids", "find", "Logical_Flow", "priority=1900")
	if err := json.Unmarshal([]byte(text), &flow); err != nil || len(flow.Data) != 1 {
		t.Fatalf("%v in %s, want the one flow of the ACL", err, text)
	}
	key := explain.FlowKey{Match: flow.Data[0][0].(string), Priority: int(flow.Data[0][1].(float64))}
	for _, pair := range flow.Data[0][2].([]any)[1].([]any) {
		switch kv := pair.([]any); kv[0] {
		case "stage-hint":
			key.Hint = kv[1].(string)
		case "stage-name":
			key.Stage = kv[1].(string)
		}
	}
	if key.Hint != old[:len(key.Hint)] {
		t.Logf("this ovn-northd keeps hints current: %s", text)
	}
	now := nbctl("--bare", "--columns=_uuid", "list", "ACL")
	x := explain.NewIndex("s")
	table, _ := ovn.Northbound().Table(nb.ACLTable)
	l.db.Read(func(v ovn.View) {
		for r := range v.Table(table) {
			x.Add(table, r.Model)
		}
	})
	if e, ok := x.OfFlow(key); !ok || e.UUID != now {
		t.Errorf("flow %+v is of %+v, want ACL %s", key, e, now)
	}

	// And back: the ACL's flows are asked for by its UUID.
	var paths []string
	for name, backend := range map[string]string{"OVN_Northbound": l.nb.Backend(), "OVN_Southbound": l.sb.Backend()} {
		path := filepath.Join(l.dir, name+".db")
		if err := os.WriteFile(path, []byte(l.run("ovsdb-client", "backup", backend, name)), 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	record, err := inspect.Open(inspect.OpenConfig{Paths: paths})
	if err != nil {
		t.Fatal(err)
	}
	defer record.Close() //nolint:errcheck // read only
	snapshot := explain.FromSnapshot(record)
	nodes, err := snapshot.Nodes(t.Context())
	if err != nil || len(nodes) != 1 {
		t.Fatalf("nodes %v, %v", nodes, err)
	}
	flows, err := snapshot.FlowsFor(t.Context(), nodes[0], []string{now[:len("01234567")]})
	if err != nil || len(flows) != 1 || flows[0].Match != key.Match {
		t.Errorf("flows of ACL %s: %+v, %v; want that of %+v", now, flows, err, key)
	}
}
