package dns

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"
)

func TestQuestionOf(t *testing.T) {
	t.Parallel()
	two := dnsmessage.Message{Questions: []dnsmessage.Question{
		{Name: dnsmessage.MustNewName("a."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET},
		{Name: dnsmessage.MustNewName("b."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET},
	}}
	packed, err := two.Pack()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		about string
		msg   []byte
		want  string
		ok    bool
	}{
		{"mixed case", query("wWw.ExAmPlE.cOm.", dnsmessage.TypeA), "www.example.com", true},
		{"underscore", query("_x._tcp.example.com.", dnsmessage.TypeSRV), "_x._tcp.example.com", true},
		{"root", query(".", dnsmessage.TypeNS), "", false},
		{"blank in a label", query("a b.com.", dnsmessage.TypeA), "a b.com", false},
		{"two questions", packed, "", false},
		{"short", []byte{1, 2, 3}, "", false},
	} {
		q, ok := questionOf(c.msg)
		if ok != c.ok || q.name != c.want {
			t.Errorf("%s: %q, %v, want %q, %v", c.about, q.name, ok, c.want, c.ok)
		}
	}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	q := query("www.example.com.", dnsmessage.TypeA)
	good := response(q, record{"www.example.com.", "192.0.2.1", 1})
	change := func(f func([]byte)) []byte {
		out := bytes.Clone(good)
		f(out)
		return out
	}
	for _, c := range []struct {
		about    string
		response []byte
		want     bool
	}{
		{"the answer", good, true},
		{"in other case", response(query(mixed("www.example.com."), dnsmessage.TypeA)), true},
		{"without the question", slices.Concat(good[:4], make([]byte, 8)), true},
		{"another number", change(func(m []byte) { m[0]++ }), false},
		{"a query", change(func(m []byte) { m[2] &^= 0x80 }), false},
		{"another name", response(query("ftp.example.com.", dnsmessage.TypeA)), false},
		{"another type", response(query("www.example.com.", dnsmessage.TypeAAAA)), false},
		{"short", good[:headerSize-1], false},
		{"cut in the question", good[:headerSize+3], false},
	} {
		if got := answers(q, c.response); got != c.want {
			t.Errorf("%s: %v, want %v", c.about, got, c.want)
		}
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	name := dnsmessage.MustNewName("www.example.com.")
	header := func(n string, ttl uint32) dnsmessage.ResourceHeader {
		return dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(n), Class: dnsmessage.ClassINET, TTL: ttl}
	}
	binding := dnsmessage.SVCBResource{Priority: 1, Target: dnsmessage.MustNewName(".")}
	binding.SetParam(dnsmessage.SVCParamIPv4Hint, []byte{192, 0, 2, 3, 192, 0, 2, 4})
	v6 := netip.MustParseAddr("2001:db8::3").As16()
	binding.SetParam(dnsmessage.SVCParamIPv6Hint, v6[:])
	chaos := header("www.example.com.", 5)
	chaos.Class = dnsmessage.ClassCHAOS
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{Response: true},
		Questions: []dnsmessage.Question{{Name: name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
		Answers: []dnsmessage.Resource{
			{Header: header("b.test.", 7), Body: &dnsmessage.AResource{A: [4]byte{192, 0, 2, 1}}}, // before its alias
			{Header: header("WWW.example.com.", 9), Body: &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName("A.test.")}},
			{Header: header("a.test.", 9), Body: &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName("b.test.")}},
			{Header: header("b.test.", 9), Body: &dnsmessage.CNAMEResource{CNAME: name}}, // a loop
			{Header: header("c.test.", 9), Body: &dnsmessage.AResource{A: [4]byte{192, 0, 2, 66}}},
			{Header: header("b.test.", 8), Body: &dnsmessage.HTTPSResource{SVCBResource: binding}},
			{Header: header("b.test.", 8), Body: &dnsmessage.TXTResource{TXT: []string{"192.0.2.66"}}},
			{Header: chaos, Body: &dnsmessage.AResource{A: [4]byte{192, 0, 2, 66}}},
		},
		Additionals: []dnsmessage.Resource{{Header: header("www.example.com.", 9), Body: &dnsmessage.AResource{A: [4]byte{192, 0, 2, 66}}}},
	}
	packed, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	got, err := addresses(packed, "www.example.com")
	if err != nil {
		t.Fatal(err)
	}
	var want []found
	for _, a := range []struct {
		addr string
		ttl  time.Duration
	}{{"192.0.2.1", 7}, {"192.0.2.3", 8}, {"192.0.2.4", 8}, {"2001:db8::3", 8}} {
		want = append(want, found{netip.MustParseAddr(a.addr), a.ttl * time.Second})
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(found{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
	if _, err := addresses(packed[:len(packed)/2], "www.example.com"); err == nil {
		t.Error("half a message is understood")
	}
}

func TestFailure(t *testing.T) {
	t.Parallel()
	q := query(mixed("www.example.com."), dnsmessage.TypeAAAA)
	f := failure(q)
	var m dnsmessage.Message
	if err := m.Unpack(f); err != nil {
		t.Fatal(err)
	}
	if !answers(q, f) || m.RCode != dnsmessage.RCodeServerFailure || !m.RecursionDesired || len(m.Questions) != 1 || m.Questions[0].Name.String() != mixed("www.example.com.") {
		t.Errorf("failure is %+v", m)
	}
	if f := failure(query(".", dnsmessage.TypeNS)); len(f) != headerSize {
		t.Errorf("failure for the root is %x", f)
	}
}

// FuzzMessage: no message, of client or server, does anything but be understood or not.
func FuzzMessage(f *testing.F) {
	q := query("www.example.com.", dnsmessage.TypeA)
	f.Add(q, response(q, record{"www.example.com.", "a.test.", 1}, record{"a.test.", "192.0.2.1", 1}))
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(t *testing.T, q, r []byte) {
		if len(q) >= headerSize {
			fail := failure(q)
			if len(fail) > len(q) || !answers(q, fail) {
				t.Errorf("the failure %x does not answer %x", fail, q)
			}
		}
		o, ok := questionOf(q)
		if ok && !usable(o.name) {
			t.Errorf("%q is no name", o.name)
		}
		answers(q, r)
		truncated(r)
		list, err := addresses(r, o.name)
		for _, a := range list {
			if err != nil || !a.addr.IsValid() || a.ttl < 0 {
				t.Errorf("found %v, %v", a, err)
			}
		}
	})
}
