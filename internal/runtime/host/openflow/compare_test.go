package openflow

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What ovs-ofctl prints differently is the same flow, and what it does not is another.
func TestSameFlow(t *testing.T) {
	t.Parallel()
	const wanted = "cookie=0xdeff105,table=0,priority=110,in_port=1,udp6,udp_dst=6081,ipv6_dst=fd00::1/128,ct_state=+trk-inv,actions=ct(commit,zone=5,nat(src=10.0.0.1),table=2),LOCAL\n"
	for printed, same := range map[string]bool{
		" cookie=0xdeff105, duration=3.1s, table=0, n_packets=4, n_bytes=5, idle_age=6, priority=110,ct_state=-inv+trk,udp6,in_port=1,ipv6_dst=fd00::1,tp_dst=6081 actions=ct(commit,table=2,zone=5,nat(src=10.0.0.1)),LOCAL":                      true,
		" cookie=0xdeff105, duration=3.1s, table=0, n_packets=4, n_bytes=5, idle_age=6, priority=110,ct_state=+inv+trk,udp6,in_port=1,ipv6_dst=fd00::1,tp_dst=6081 actions=ct(commit,table=2,zone=5,nat(src=10.0.0.1)),LOCAL":                      false,
		" cookie=0xdeff105, duration=3.1s, table=0, n_packets=4, n_bytes=5, idle_age=6, priority=110,ct_state=-inv+trk,udp6,in_port=1,ipv6_dst=fd00::1,tp_dst=6081 actions=LOCAL,ct(commit,table=2,zone=5,nat(src=10.0.0.1))":                      false,
		" cookie=0xdeff105, duration=3.1s, table=0, n_packets=4, n_bytes=5, idle_age=6, priority=111,ct_state=-inv+trk,udp6,in_port=1,ipv6_dst=fd00::1,tp_dst=6081 actions=ct(commit,table=2,zone=5,nat(src=10.0.0.1)),LOCAL":                      false,
		" cookie=0xdeff106, duration=3.1s, table=0, n_packets=4, n_bytes=5, idle_age=6, priority=110,ct_state=-inv+trk,udp6,in_port=1,ipv6_dst=fd00::1,tp_dst=6081 actions=ct(commit,table=2,zone=5,nat(src=10.0.0.1)),LOCAL":                      false,
		"OFPST_FLOW reply (OF1.5) (xid=0x2):\n cookie=0xdeff105, table=0, priority=110,ct_state=-inv+trk,udp6,in_port=1,ipv6_dst=fd00::1,tp_dst=6081 actions=ct(zone=5,commit,table=2,nat(src=10.0.0.1)),LOCAL\n cookie=0x1, table=3 actions=drop": true,
	} {
		c, err := Compare(wanted, printed, Cookie{})
		if err != nil || c.Empty() != same {
			t.Errorf("%s: %v\n%s", printed, err, c)
		}
	}
	for _, nonsense := range []string{"what?", "cookie=many,actions=drop"} {
		if _, err := Compare(wanted, nonsense, Cookie{}); err == nil || !strings.Contains(err.Error(), nonsense) {
			t.Errorf("%s: %v", nonsense, err)
		}
	}
}

// FuzzCompare has the dump of a bridge be anything: it is refused, or what is wanted
// is not to be deleted.
func FuzzCompare(f *testing.F) {
	files, err := filepath.Glob("../testdata/flows/*.txt")
	if err != nil || len(files) == 0 {
		f.Fatalf("goldens %v: %v", files, err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	f.Add(" cookie=0x0, duration=1.5s, table=0, n_packets=0, n_bytes=0, priority=1,ct_state=+-,nw_src=1/32 actions=ct(,ct()),(")
	f.Fuzz(func(t *testing.T, dump string) {
		if _, err := Compare("", dump, Cookie{}); err != nil {
			return
		}
		c, err := Compare(dump, dump, Cookie{})
		if err != nil {
			t.Fatalf("refused when it is wanted: %v", err)
		}
		if len(c.Delete) > 0 {
			t.Errorf("wanted, and to be deleted: %q", c.Delete)
		}
	})
}
