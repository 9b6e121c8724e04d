package inspect_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/exec"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/inspect/inspecttest"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/dbfile"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/ovntest"
	"github.com/ovnkctl/ovnkctl/internal/ovn/sb"
)

// patience is for what a loaded machine does in a moment, short for what never comes.
const (
	patience = 30 * time.Second
	short    = 100 * time.Millisecond
)

func TestLiveReadsTablesThatAreAskedFor(t *testing.T) {
	t.Parallel()
	c := inspecttest.New(t, "a")
	if _, err := c.Nodes["a"].DB["nb"].Transact(t.Context(), "", ovn.Insert(&nb.LogicalSwitch{Name: "one"}, "ls"), ovn.Insert(&nb.AddressSet{Name: "as"}, "as")); err != nil {
		t.Fatal(err)
	}
	n := c.Snapshot(patience).Node("a")
	first, err := n.Database(t.Context(), ovn.Northbound(), nb.LogicalSwitchTable)
	if err != nil {
		t.Fatal(err)
	}
	if len(ovn.RowsOf[nb.LogicalSwitch](first)) != 1 || len(ovn.RowsOf[nb.AddressSet](first)) != 0 {
		t.Error("other tables than those that were asked for")
	}
	if _, err := c.Nodes["a"].DB["nb"].Transact(t.Context(), "", ovn.Insert(&nb.LogicalSwitch{Name: "two"}, "ls")); err != nil {
		t.Fatal(err)
	}
	all, err := n.Database(t.Context(), ovn.Northbound(), nb.LogicalSwitchTable, nb.AddressSetTable)
	if err != nil {
		t.Fatal(err)
	}
	if len(ovn.RowsOf[nb.LogicalSwitch](all)) != 1 || len(ovn.RowsOf[nb.AddressSet](all)) != 1 || len(ovn.RowsOf[nb.AddressSet](first)) != 0 {
		t.Error("a table is read once, and what was given out does not change")
	}
}

// When the node's program crashes the tools still find a way.
func TestLiveWithoutTheNodesProgram(t *testing.T) {
	t.Parallel()
	c := inspecttest.New(t, "a")
	c.Stop("ovnkube-node-a", "ovnkube-controller", "ovn-controller")
	n := c.Snapshot(patience).Node("a")
	for _, d := range ovn.Databases() {
		if _, err := n.Database(t.Context(), d); err != nil {
			t.Errorf("%s: %v", d.Name, err)
		}
	}
	c.Stop("ovnkube-node-a", "ovn-northd", "nb-ovsdb", "sb-ovsdb")
	_, err := c.Snapshot(patience).Node("a").Database(t.Context(), ovn.Northbound())
	var p *inspect.Problem
	if !errors.As(err, &p) || p.Node != "a" || !strings.Contains(p.Next, "kubectl -n ovn-kubernetes get pods") {
		t.Errorf("no container at all: %#v", err)
	}
}

func TestLiveFailures(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		refuse    error
		why, next string
	}{
		"no right to exec": {
			errors.New(`pods "ovnkube-node-a" is forbidden: User "me" cannot create resource "pods/exec"`),
			`you ("me") may not`, `kubectl -n ovn-kubernetes create role ovnkctl-exec --verb=create,get --resource=pods/exec --dry-run=client -o yaml | kubectl auth reconcile -f - && kubectl -n ovn-kubernetes create rolebinding ovnkctl-exec --role=ovnkctl-exec --user=me`,
		},
		"node is off":            {errors.New("error dialing backend: no route to host"), "no route to host", ""},
		"an image without relay": {exec.CodeExitError{Err: errors.New("command terminated with exit code 2"), Code: 2}, "older", "ovnkctl upgrade"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := inspecttest.New(t, "a")
			c.Refuse = func(string) error { return test.refuse }
			_, err := c.Snapshot(patience).Node("a").Database(t.Context(), ovn.Northbound())
			var p *inspect.Problem
			if !errors.As(err, &p) || (p.Node == "a") != !strings.Contains(test.why, "may not") || !strings.Contains(p.Why, test.why) || !strings.Contains(p.Next, test.next) {
				t.Errorf("error = %#v", err)
			}
		})
	}
}

// Nothing waits longer than it is told to.
func TestTimeouts(t *testing.T) {
	t.Parallel()
	c := inspecttest.New(t, "a")
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	c.Run = func(string, []string) (string, int) { <-hang; return "", 0 }
	s := c.Snapshot(short)
	if _, err := s.Node("a").Text(t.Context(), inspect.TextNFT); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a program that hangs: %v", err)
	}
	c.Nodes["a"].Servers["nb"].Shut()
	if _, err := s.Node("a").Database(t.Context(), ovn.Northbound()); err == nil {
		t.Error("a database that is gone was read")
	}
}

func TestNoNetwork(t *testing.T) {
	t.Parallel()
	c := inspecttest.New(t)
	_, err := c.Snapshot(patience).Nodes(t.Context())
	var p *inspect.Problem
	if !errors.As(err, &p) || !strings.Contains(p.Next, "--namespace") {
		t.Errorf("error = %#v", err)
	}
	c.API.Intercept(func(*http.Request) *metav1.Status {
		return &metav1.Status{Status: metav1.StatusFailure, Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden, Message: "nodes is forbidden"}
	})
	if _, err = c.Snapshot(patience).Nodes(t.Context()); !errors.As(err, &p) || !strings.Contains(p.Next, "-n ovn-kubernetes create role ovnkctl-list --verb=list --resource=pods ") {
		t.Errorf("pods may not be listed: %#v", err)
	}
}

// targz makes a bundle of files.
func targz(t *testing.T, headers ...*tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, h := range headers {
		data := []byte(h.PAXRecords["OVNKCTL.data"])
		h.PAXRecords = nil
		h.Size = int64(len(data))
		if err := errors.Join(w.WriteHeader(h), func() error { _, err := w.Write(data); return err }()); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func file(name, data string) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o600, PAXRecords: map[string]string{"OVNKCTL.data": data}}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, test := range map[string]struct{ path, want string }{
		"nothing there":        {filepath.Join(dir, "none"), "no such file"},
		"a text":               {inspecttest.Write(t, "x", []byte("hello")), "neither a bundle"},
		"an empty file":        {inspecttest.Write(t, "x", nil), "neither a bundle"},
		"an empty folder":      {dir, "no bundle"},
		"another archive":      {inspecttest.Write(t, "x", targz(t, file("a/b", "c"))), "no bundle"},
		"out of itself":        {inspecttest.Write(t, "x", targz(t, file("../../etc/passwd", "x"))), "outside of itself"},
		"from the root":        {inspecttest.Write(t, "x", targz(t, file("/etc/passwd", "x"))), "outside of itself"},
		"gzip of nonsense":     {inspecttest.Write(t, "x", []byte("\x1f\x8bnonsense")), "cannot be read"},
		"a database of others": {inspecttest.Write(t, "x", []byte("OVSDB JSON 1 2\n")), "no database of OVN"},
	} {
		s, err := inspect.Open(inspect.OpenConfig{Paths: []string{test.path}})
		var p *inspect.Problem
		if err == nil || !errors.As(err, &p) || !strings.Contains(err.Error(), test.want) || p.Next == "" {
			t.Errorf("%s: %v, %v", name, s, err)
		}
	}
}

// A folder's links do not lead out of it.
func TestLinksAreNotFollowed(t *testing.T) {
	t.Parallel()
	dir, secret := t.TempDir(), inspecttest.Write(t, "secret", []byte("secret"))
	text := filepath.Join(dir, "nodes", "a", "text")
	if err := errors.Join(os.MkdirAll(text, 0o700), os.WriteFile(filepath.Join(text, "kernel"), []byte("Linux"), 0o600),
		os.Symlink(secret, filepath.Join(text, "nft"))); err != nil {
		t.Fatal(err)
	}
	s, err := inspect.Open(inspect.OpenConfig{Paths: []string{dir}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if text, err := s.Node("a").Text(t.Context(), inspect.TextKernel); err != nil || text != "Linux" {
		t.Errorf("%q, %v", text, err)
	}
	for _, name := range []string{inspect.TextNFT, "../../../x", "/etc/passwd"} {
		if text, err := s.Node("a").Text(t.Context(), name); err == nil {
			t.Errorf("%s: %q", name, text)
		}
	}
}

// southbound writes what a server holds as a file.
func databaseFile(t *testing.T, s *ovntest.Server, node string) string {
	t.Helper()
	c := inspecttest.New(t)
	c.Nodes[node] = &inspecttest.Node{Name: node, Servers: map[string]*ovntest.Server{s.Database.Short: s}}
	c.API.Put(inspecttest.Pod("ovnkube-node-"+node, "ovnkube-node", node, "ovnkube-controller"))
	a, err := c.Snapshot(patience).Node(node).Answer(t.Context(), s.Database)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := dbfile.Write(&b, a.Schema, a.Rows, time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	return inspecttest.Write(t, s.Database.Short+".db", b.Bytes())
}

func TestDatabaseFiles(t *testing.T) {
	t.Parallel()
	north, south := ovntest.NB(t), ovntest.SB(t)
	if _, err := north.Connect(t).Transact(t.Context(), "", ovn.Insert(&nb.NBGlobal{Name: "worker"}, "g"), ovn.Insert(&nb.LogicalSwitch{Name: "sw"}, "ls")); err != nil {
		t.Fatal(err)
	}
	if _, err := south.Connect(t).Transact(t.Context(), "", ovn.Insert(&sb.DatapathBinding{TunnelKey: 1}, "dp")); err != nil {
		t.Fatal(err)
	}
	paths := []string{databaseFile(t, north, "n"), databaseFile(t, south, "n")}
	s, err := inspect.Open(inspect.OpenConfig{Paths: paths})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	nodes, err := s.Nodes(t.Context())
	if err != nil || !slices.Equal(nodes, []string{"worker"}) {
		t.Fatalf("nodes %v, %v", nodes, err)
	}
	n := s.Node("worker")
	if c, err := n.Database(t.Context(), ovn.Northbound()); err != nil || len(ovn.RowsOf[nb.LogicalSwitch](c)) != 1 {
		t.Errorf("northbound: %v", err)
	}
	if c, err := n.Database(t.Context(), ovn.Southbound()); err != nil || len(ovn.RowsOf[sb.DatapathBinding](c)) != 1 {
		t.Errorf("southbound: %v", err)
	}
	if _, err := n.Database(t.Context(), ovn.OpenVSwitch()); !errors.Is(err, inspect.ErrAbsent) {
		t.Errorf("a database that was not named: %v", err)
	}
	if w, err := s.World(t.Context()); err != nil || w == nil || len(s.Problems()) == 0 {
		t.Errorf("world %v, %v, problems %v", w, err, s.Problems())
	}
	// The end is missing, as after a crash.
	data, err := os.ReadFile(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	cut, err := inspect.Open(inspect.OpenConfig{Paths: []string{inspecttest.Write(t, "cut.db", data[:len(data)-10])}})
	if err != nil {
		t.Fatal(err)
	}
	defer cut.Close()
	if _, err := cut.Node("unknown").Database(t.Context(), ovn.Northbound()); err != nil || len(cut.Problems()) != 1 || !strings.Contains(cut.Problems()[0].Why, "damaged") {
		t.Errorf("%v, problems %v", err, inspect.Errors(cut.Problems()))
	}
}

// ovn-trace runs on this machine, on the record's Southbound database.
func TestTraceOfARecord(t *testing.T) {
	t.Parallel()
	south := ovntest.SB(t)
	db := south.Connect(t)
	if _, err := db.Transact(t.Context(), "",
		ovn.Insert(&sb.DatapathBinding{TunnelKey: 1, ExternalIDs: map[string]string{"name": "sw", "logical-switch": "x"}}, "dp"),
		ovn.Insert(&sb.PortBinding{LogicalPort: "p", Datapath: "dp", TunnelKey: 1}, "pb"),
	); err != nil {
		t.Fatal(err)
	}
	path := databaseFile(t, south, "n")
	open := func(find func(string) (string, error)) *inspect.Snapshot {
		s, err := inspect.Open(inspect.OpenConfig{Paths: []string{path}, Find: find})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	s := open(func(name string) (string, error) { return wrapped(t, name), nil })
	for range 2 { // the second time the server is there
		out, err := s.Node("unknown").Exec(t.Context(), "", "ovn-trace", "sw", `inport == "p" && eth.src == 00:00:00:00:00:01 && eth.dst == 00:00:00:00:00:02`)
		if err != nil || out.Code != 0 || !strings.Contains(string(out.Stdout), "ingress(") {
			t.Errorf("code %d, %v\n%s%s", out.Code, err, out.Stdout, out.Stderr)
		}
	}
	var p *inspect.Problem
	_, err := open(func(string) (string, error) { return "", errors.New("not found") }).Node("unknown").Exec(t.Context(), "", "ovn-trace", "sw", "")
	if !errors.As(err, &p) || !strings.Contains(p.Next, "apt install") {
		t.Errorf("not installed: %#v", err)
	}
	if _, err = s.Node("unknown").Exec(t.Context(), "", "ovs-vsctl", "show"); !errors.As(err, &p) || !strings.Contains(p.Next, "live") {
		t.Errorf("another program: %#v", err)
	}
}

// wrapped is a script that runs a program of OVN as tests find it.
func wrapped(t *testing.T, name string) string {
	t.Helper()
	argv := ovntest.Command(t, name).Args
	return inspecttest.Script(t, name, "exec '"+strings.Join(argv, "' '")+"' \"$@\"")
}

// A node that is off is asked once, and is one problem, however much is wanted of it.
func TestSilentNode(t *testing.T) {
	t.Parallel()
	c := inspecttest.New(t, "a", "off")
	asked := make(chan struct{}, 100)
	over := make(chan struct{})
	c.Refuse = func(node string) error {
		if node == "off" {
			asked <- struct{}{}
			<-over
		}
		return nil
	}
	s := c.Snapshot(short)
	t.Cleanup(func() { close(over) }) // before the snapshot is closed
	if err := s.Each(t.Context(), nil, func(ctx context.Context, n *inspect.Node) error {
		_, err := n.Texts(ctx)
		var all sync.WaitGroup
		for _, text := range []string{inspect.TextNFT, inspect.TextKernel, inspect.TextLinks, "logs/ovs-node-off/ovs-daemons"} {
			all.Go(func() {
				if _, err := n.Text(ctx, text); n.Name() == "off" && err == nil {
					t.Errorf("%s of a node that is off", text)
				} else if err != nil && n.Name() == "off" {
					var p *inspect.Problem
					if !errors.As(err, &p) {
						t.Error(err)
						return
					}
					s.Note(p)
				}
			})
		}
		all.Wait()
		return err
	}); err != nil {
		t.Fatal(err)
	}
	problems := s.Problems()
	if len(problems) != 1 || problems[0].Node != "off" || !strings.Contains(problems[0].Next, "kubectl get node off") || !errors.Is(problems[0], context.DeadlineExceeded) {
		t.Errorf("problems %v", inspect.Errors(problems))
	}
	if len(asked) != 1 {
		t.Errorf("asked %d times", len(asked))
	}
}

// A snapshot is closed while nodes are being opened, and nobody waits for ever.
func TestCloseWhileOpening(t *testing.T) {
	t.Parallel()
	c := inspecttest.New(t, "a")
	asked, over := make(chan struct{}, 1), make(chan struct{})
	c.Refuse = func(string) error {
		asked <- struct{}{}
		<-over
		return nil
	}
	s := c.Snapshot(patience)
	ctx, cancel := context.WithCancel(t.Context())
	read := make(chan error, 1)
	go func() {
		_, err := s.Node("a").Database(ctx, ovn.Northbound())
		read <- err
	}()
	<-asked // the relay is being started
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	if err := within(patience, closed); err != nil {
		t.Errorf("close: %v", err)
	}
	cancel()
	if err := within(patience, read); err == nil || errors.Is(err, errNever) {
		t.Error("a database was read of a node that never answered")
	}
	close(over)
}

var errNever = errors.New("never")

// within is the error that comes, or that none comes in time.
func within(limit time.Duration, done <-chan error) error {
	select {
	case err := <-done:
		return err
	case <-time.After(limit):
		return errNever
	}
}

// Databases can be followed, too, by the client that the runtime has.
func TestFollow(t *testing.T) {
	t.Parallel()
	c := inspecttest.New(t, "a")
	n := c.Snapshot(patience).Node("a")
	db, end, err := n.Follow(t.Context(), ovn.Config{Database: ovn.Northbound()})
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	seen := make(chan string, 10)
	defer ovn.Watch(db, func(_, now *nb.LogicalSwitch) { seen <- now.Name })()
	if _, err := c.Nodes["a"].DB["nb"].Transact(t.Context(), "", ovn.Insert(&nb.LogicalSwitch{Name: "new"}, "ls")); err != nil {
		t.Fatal(err)
	}
	if name := <-seen; name != "new" {
		t.Errorf("saw %q", name)
	}
	c.Stop("ovnkube-node-a", "ovnkube-controller", "ovn-controller", "ovn-northd", "nb-ovsdb", "sb-ovsdb")
	_, _, err = c.Snapshot(10*short).Node("a").Follow(t.Context(), ovn.Config{Database: ovn.Northbound()})
	var p *inspect.Problem
	if !errors.As(err, &p) || p.Node != "a" || p.Next == "" {
		t.Errorf("no container: %v", err)
	}
}

// FuzzBundle has manifests and objects of any content: nothing of it may end the program.
func FuzzBundle(f *testing.F) {
	f.Add(`{"kind":"Bundle","nodes":["a"],"problems":[{"what":"x"},null],"items":[{"path":"cluster/pods.json","status":"failed"}]}`, `{"items":[{"metadata":{"name":"n"}}]}`)
	f.Add(`{"nodes":["../../x","",null]}`, `[]`)
	f.Fuzz(func(t *testing.T, manifest, objects string) {
		path := inspecttest.Write(t, "fuzz.tar.gz", targz(t, file("b/manifest.json", manifest), file("b/cluster/nodes.json", objects), file("b/nodes/a/nb.db", objects)))
		s, err := inspect.Open(inspect.OpenConfig{Paths: []string{path}})
		if err != nil {
			return
		}
		defer s.Close()
		_, _ = s.World(t.Context())
		_ = s.Each(t.Context(), nil, func(ctx context.Context, n *inspect.Node) error {
			_, _ = n.Texts(ctx)
			_, _ = n.Text(ctx, inspect.TextNFT)
			_, err := n.Database(ctx, ovn.Northbound())
			return err
		})
		for _, p := range s.Problems() {
			_ = p.Error()
		}
	})
}
