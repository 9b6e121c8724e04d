//go:build ovn && linux

// Package ovn tests what the features make against the real thing: ovsdb-server, northd,
// ovn-controller and Open vSwitch, with ovn-trace and real packets as judges.
package ovn

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ovnkctl/ovnkctl/test/ovn/box"
)

// later is younger than the nodes of a box, which have no creation time.
var later = metav1.NewTime(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))

// harmless are parts of warnings that say nothing about rows.
var harmless = []string{
	// A busy machine.
	"Unreasonably long", "poll interval", "context switches", "faults", "disk:", "Dropped ",
	// The start and the end: br-int is made by ovn-controller itself, and tests end without
	// saying goodbye.
	"br-int.mgmt: connection", "connection closed by peer", "connection dropped", "connection attempt failed",
	"send error", "receive error", "vif_plug_provider",
	// The databases are read over two connections: a port may be seen before the chassis
	// that the Southbound database already had. Packets prove that both are found then.
	"Unknown chassis 'chassis-n", "Failed to locate tunnel to reach main chassis chassis-n",
}

// quietLogs fails for warnings and errors of northd and ovn-controller: they tell of rows
// that OVN does not understand.
func quietLogs(t *testing.T, b *box.Box) {
	t.Helper()
	for _, z := range b.Zones {
		for _, daemon := range []string{"ovn-northd", "ovn-controller"} {
			for line := range strings.Lines(z.Log(daemon)) {
				if (strings.Contains(line, "|WARN|") || strings.Contains(line, "|ERR|")) && !containsAny(line, harmless) {
					t.Errorf("%s of %s: %s", daemon, z.Name, strings.TrimSpace(line))
				}
			}
		}
	}
}

func containsAny(s string, parts []string) bool {
	for _, p := range parts {
		if strings.Contains(s, p) {
			return true
		}
	}
	return false
}
