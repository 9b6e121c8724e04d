package cluster

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSpecNames(t *testing.T) {
	t.Parallel()
	const list = `The following spec names can be used with 'ginkgo run --focus/skip':
    k8s.io/kubernetes@v1.37.2/test/e2e/network/dns.go:55: [sig-network] DNS should provide DNS for the cluster [Conformance]
    /src/test/e2e/network/a.go:7: [sig-network] A: b.go:1: c
    /src/test/e2e/network/a.go:9: [sig-network] A: b.go:1: c

PASS
`
	want := []string{"[sig-network] A: b.go:1: c", "[sig-network] DNS should provide DNS for the cluster [Conformance]"}
	if diff := cmp.Diff(want, specNames(list)); diff != "" {
		t.Error(diff)
	}
}
