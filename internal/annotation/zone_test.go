package annotation

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestZoneProblems(t *testing.T) {
	t.Parallel()
	problems := []ZoneProblem{
		{Kind: "EgressFirewall", Namespace: "web", Name: "default", Reason: "UnknownDomain", Message: `no address of "x" is known`},
		{Kind: "AdminNetworkPolicy", Name: "a", Reason: "TransactionRefused", Message: "m"},
	}
	text := ZoneProblems.Encode(problems)
	want := `[{"object":"EgressFirewall/web/default","reason":"UnknownDomain","message":"no address of \"x\" is known"},` +
		`{"object":"AdminNetworkPolicy/a","reason":"TransactionRefused","message":"m"}]`
	if text != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	got, err := ZoneProblems.Decode(text)
	if diff := cmp.Diff(problems, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	if text := ZoneProblems.Encode(nil); text != "" {
		t.Errorf("no problems are %q", text)
	}
	for _, bad := range []string{
		`{}`, `[{"object":"a"}]`, `[{"object":"a/b/c/d","reason":"R"}]`, `[{"object":"a/b","reason":"two words"}]`, `[{"object":"a/b","reason":""}]`,
		`[{"object":"a/b","reason":"R","message":"` + strings.Repeat("x", MaxZoneMessage+1) + `"}]`,
		"[" + strings.TrimSuffix(strings.Repeat(`{"object":"a/b","reason":"R"},`, MaxZoneProblems+1), ",") + "]",
	} {
		if got, err := ZoneProblems.Decode(bad); err == nil {
			t.Errorf("%s became %v", bad, got)
		}
	}
}
