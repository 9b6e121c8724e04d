package policyapi

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ovnkctl/ovnkctl/test/conformance/report"
)

func TestWithoutChecks(t *testing.T) {
	t.Parallel()
	const rest = "\tt.Helper()\n}\n\nfunc doPokeServer(t *testing.T, protocol, targetHost string, targetPort int32, shouldConnect bool) bool {\n}\n"
	// As in v0.1.7, and in v0.2.0.
	for result, yes := range map[string]string{" bool": "return true", "": "return"} {
		head := "package kubernetes\n\nfunc PokeServer(t *testing.T, protocol, targetHost string, targetPort int32, shouldConnect bool)" + result + " {\n"
		got, err := withoutChecks([]byte(head + rest))
		if err != nil {
			t.Fatal(err)
		}
		if s := string(got); !strings.HasPrefix(s, head+"\tif protocol == \"sctp\" {\n") || !strings.HasSuffix(s, "\t\t"+yes+"\n\t}\n"+rest) || !strings.Contains(s, mark) {
			t.Errorf("%s", s)
		}
		for _, other := range []string{"package kubernetes\n", rest, head + rest + head + rest} {
			if _, err := withoutChecks([]byte(other)); err == nil {
				t.Errorf("accepted:\n%s", other)
			}
		}
	}
}

func TestWithoutServers(t *testing.T) {
	t.Parallel()
	const before = `    spec:
      containers:
        - name: web-{{ index .HostNetworkPorts 0 }}
          ports:
            - containerPort: 80
`
	const server = `        - name: sctp
          command: ["/bin/bash", "-c", "/agnhost porter"]
          env:
          - name: SERVE_SCTP_PORT_9003
            value: "foo"
`
	const after = `---
apiVersion: v1
`
	got, err := withoutServers([]byte(before + server + server + before + server + after))
	if diff := cmp.Diff(before+before+after, string(got)); diff != "" || err != nil {
		t.Error(err, diff)
	}
	for _, other := range []string{before + after, before + server + "      other:\n        SERVE_SCTP_PORT_1: a\n"} {
		if _, err := withoutServers([]byte(other)); err == nil {
			t.Errorf("accepted:\n%s", other)
		}
	}
}

const run = `{"Action":"start"}
{"Action":"run","Test":"TestConformance"}
{"Action":"run","Test":"TestConformance/A"}
{"Action":"run","Test":"TestConformance/A/does_this"}
{"Action":"output","Test":"TestConformance/A/does_this","Output":"    helper.go:7: left out: no SCTP in this kernel: a/b to c:1\n"}
{"Action":"pass","Test":"TestConformance/A/does_this","Elapsed":1.5}
{"Action":"run","Test":"TestConformance/A/does_that"}
{"Action":"output","Test":"TestConformance/A/does_that","Output":"=== RUN   TestConformance/A/does_that\n"}
{"Action":"output","Test":"TestConformance/A/does_that","Output":"    a.go:1: Expected connection to fail\n"}
{"Action":"fail","Test":"TestConformance/A/does_that","Elapsed":2}
{"Action":"fail","Test":"TestConformance/A","Elapsed":4}
{"Action":"run","Test":"TestConformance/AB"}
{"Action":"output","Test":"TestConformance/AB","Output":"cannot apply\n"}
{"Action":"fail","Test":"TestConformance/AB","Elapsed":3}
{"Action":"run","Test":"TestConformance/C"}
{"Action":"run","Test":"TestConformance/C/part"}
{"Action":"pass","Test":"TestConformance/C/part","Elapsed":1}
{"Action":"output","Test":"TestConformance/C","Output":"cannot delete\n"}
{"Action":"fail","Test":"TestConformance/C","Elapsed":3}
{"Action":"run","Test":"TestConformance/D"}
{"Action":"run","Test":"TestConformance/D/ends"}
{"Action":"skip","Test":"TestConformance/E","Elapsed":0}
{"Action":"output","Output":"panic: test timed out\n"}
{"Action":"fail","Elapsed":9}
`

func TestResults(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	p, err := parse(strings.NewReader(run), &log)
	if err != nil {
		t.Fatal(err)
	}
	want := []report.Result{
		{Name: "A: does this", State: report.Passed, Took: 1500 * time.Millisecond},
		{Name: "A: does that", State: report.Failed, Message: "a.go:1: Expected connection to fail", Took: 2 * time.Second},
		{Name: "AB", State: report.Failed, Message: "cannot apply", Took: 3 * time.Second},
		{Name: "C: part", State: report.Passed, Took: time.Second},
		{Name: "C", State: report.Failed, Message: "cannot delete", Took: 3 * time.Second},
		{Name: "D: ends", State: report.Failed},
		{Name: "E", State: report.Skipped},
	}
	if diff := cmp.Diff(want, p.results([]string{"A", "AB", "C", "D", "E", "F"})); diff != "" {
		t.Error(diff)
	}
	if p.leftOut != 1 || p.tests[root].message() != "panic: test timed out" || !strings.Contains(log.String(), "cannot apply") {
		t.Errorf("%d left out; %q; log:\n%s", p.leftOut, p.tests[root].message(), log.String())
	}
	if _, err := parse(strings.NewReader(run+"no JSON"), io.Discard); err == nil {
		t.Error("half a line is accepted")
	}
	if TestOf("A: does this") != "A" || TestOf("A") != "A" {
		t.Error("a part is of another test")
	}
}

func TestOnlySCTPIsExcluded(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{"CNPAdminTierEgressSCTP": true, "CNPAdminTierGress": false, "CNPAdminTierEgressTCP": false} {
		if got := (Suite{WithoutSCTP: true}).Excluded(name); got != want {
			t.Errorf("%s without SCTP: %v", name, got)
		}
		if (Suite{}).Excluded(name) {
			t.Errorf("%s is excluded on a machine with SCTP", name)
		}
	}
}
