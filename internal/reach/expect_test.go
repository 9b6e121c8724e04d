package reach

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovnkctl/ovnkctl/internal/trace"
)

func expectations(t *testing.T, text string) *Expected {
	t.Helper()
	e, err := ReadExpected("file", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestExpectationsByHand: a short file says what to ask, with selectors, in CSV or YAML. That
// the pod of the database reaches itself is not asked.
func TestExpectationsByHand(t *testing.T) {
	t.Parallel()
	csv := expectations(t, `
# the database is the cart's alone
source, destination, port, verdict
ns/audit, ns/shop, , denied
ns/shop, shop/app=db, tcp/5432, Allowed
shop/app=cart, svc/shop/mail, 25, dropped
*, ns/nowhere, icmp, allowed
`)
	yaml := expectations(t, `
# the same
cells:
- {source: ns/audit, destination: ns/shop, verdict: denied}
- {source: ns/shop, destination: shop/app=db, port: tcp/5432, verdict: Allowed}
- {source: shop/app=cart, destination: svc/shop/mail, port: "25", verdict: dropped}
- {source: "*", destination: ns/nowhere, port: icmp, verdict: allowed}
`)
	var differences [2][]Difference
	for i, e := range []*Expected{csv, yaml} {
		r := newShop().run(t, Options{Oracle: Policies, Expected: e})
		differences[i] = r.Differences
	}
	if d := cmp.Diff(differences[0], differences[1]); d != "" {
		t.Error(d)
	}
	want := []Difference{
		{Source: "*", Destination: "ns/nowhere", Port: "icmp", Expected: trace.Allowed, Why: `"ns/nowhere": there is no namespace nowhere`},
		{Source: "shop/app=web", Destination: "shop/app=db", Port: "tcp/5432", Expected: trace.Allowed, Found: trace.Dropped, Why: "denied: isolated by NetworkPolicy shop/db-from-cart, and no rule allows it"},
	}
	if d := cmp.Diff(want, differences[0]); d != "" {
		t.Error(d)
	}
}

// TestExpectedMatrix: where selectors choose the matrix, what either side lacks is a difference.
func TestExpectedMatrix(t *testing.T) {
	t.Parallel()
	e := expectations(t, `source,destination,port,verdict
ns/audit,shop/app=cart,icmp,Dropped
ns/old,shop/app=cart,icmp,Allowed
`)
	r := newShop().run(t, Options{Oracle: Policies, Expected: e, Sources: []string{"ns/audit", "shop/app=db"}, Destinations: []string{"shop/app=cart"}})
	want := []Difference{
		{Source: "ns/old", Destination: "shop/app=cart", Port: "icmp", Expected: trace.Allowed, Why: "there is no such cell"},
		{Source: "shop/app=db", Destination: "shop/app=cart", Port: "icmp", Found: trace.Allowed, Why: "no policy is about it"},
	}
	if d := cmp.Diff(want, r.Differences); d != "" {
		t.Error(d)
	}
}

// TestVerdictsThatAreTheSame: the policies know only whether a packet passes; ovn-trace knows
// more, and what is expected may be less.
func TestVerdictsThatAreTheSame(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		expected, found trace.Verdict
		ovn, policies   bool
	}{
		{trace.Allowed, trace.Allowed, true, true},
		{trace.Dropped, trace.Dropped, true, true},
		{trace.Rejected, trace.Dropped, false, true},
		{trace.Unreachable, trace.Dropped, false, true},
		{Denied, trace.Dropped, true, true},
		{Denied, trace.Unreachable, true, true},
		{Denied, trace.Allowed, false, false},
		{trace.Allowed, trace.Dropped, false, false},
		{Same, Same, true, true},
		{Denied, Same, false, false},
	} {
		if got := same(c.expected, c.found, OVN); got != c.ovn {
			t.Errorf("%+v by ovn-trace: %t", c, got)
		}
		if got := same(c.expected, c.found, Policies); got != c.policies {
			t.Errorf("%+v by policies: %t", c, got)
		}
	}
	unknown := &Cell{Verdict: trace.Unknown}
	if d := unknown.differs(&Expectation{Verdict: trace.Allowed}, OVN); d != nil {
		t.Errorf("what is not known differs: %+v", d)
	}
	if d := (&Cell{Verdict: trace.Allowed}).differs(&Expectation{Verdict: trace.Unknown}, OVN); d != nil {
		t.Errorf("what was not known differs: %+v", d)
	}
}

func TestExpectationsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                     "there are none",
		"# nothing":                            "there are none",
		"hello":                                "cannot unmarshal",
		"source,destination,verdict\na,b,c":    `no column "port"`,
		"source,destination,port,verdict\na,b": `line 2 (a → b): the verdict "" is none of allowed`,
		"source,destination,port,verdict\n\nns/a,ns/b,tcp/80,maybe":   `line 3 (ns/a → ns/b tcp/80): the verdict "maybe" is none of`,
		"source,destination,port,verdict\nns/a,ns/b,tcp/x/y,allowed":  "", // a name is anything
		"source,destination,port,verdict\nns/a,ns/b,99999,allowed":    `line 2 (ns/a → ns/b 99999): "99999": a port is from 1 to 65535`,
		"source,destination,port,verdict\nns/a,\"b,80,allowed":        "quote",
		"cells:\n- {source: a=b=c, destination: b, verdict: allowed}": `cell 1 (a=b=c → b): "a=b=c"`,
		"cells: 5": "cannot unmarshal",
	} {
		_, err := ReadExpected("gate", strings.NewReader(text))
		if want == "" {
			if err != nil {
				t.Errorf("%q: %v", text, err)
			}
			continue
		}
		if err == nil || !strings.HasPrefix(err.Error(), "expectations in gate: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
