package policystatus

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// ConditionType is the condition of a policy: True when it is in force as it is written, on
// all nodes. On an object without it nothing has been found out yet.
const ConditionType = "Ready"

// What is said when all is well, in OVN-Kubernetes' words.
const (
	reasonReady   = "SetupSucceeded"
	messageReady  = "All rules are in force"
	firewallReady = "EgressFirewall Rules applied"
	// firewallFailed is what OVN-Kubernetes says when a rule is not.
	firewallFailed = "EgressFirewall Rules not correctly applied"
)

const (
	// maxMessage bounds a condition's message in bytes: it is for people, and events have no
	// more room. The API would take 32 KiB.
	maxMessage = 1024
	// maxListed is how many problems are told of a policy.
	maxListed = 5
)

// status is what is said of a policy.
type status struct {
	known           bool // there is a condition
	ready           bool
	reason, message string
	generation      int64
	since           int64 // Unix seconds; not compared
	// Of an EgressFirewall also in the fields that OVN-Kubernetes has.
	summary  string
	messages []string
}

func (s status) same(t status) bool {
	return s.known == t.known && s.ready == t.ready && s.reason == t.reason && s.message == t.message &&
		s.generation == t.generation && s.summary == t.summary && slices.Equal(s.messages, t.messages)
}

// text is what is wrong; empty for nothing.
func (s status) text() string {
	if s.ready || !s.known {
		return ""
	}
	return s.reason + ": " + s.message
}

// status is what to say, from what is the same on every node and what single nodes say.
func (o *object) status(everywhere, single []feature.Reason) status {
	want := status{known: true, ready: true, reason: reasonReady, message: messageReady, generation: o.generation}
	firewall := o.policy.Kind == world.KindEgressFirewall
	if firewall {
		want.summary = firewallReady
	}
	reasons := slices.Concat(everywhere, single)
	if len(reasons) == 0 {
		return want
	}
	texts := make([]string, 0, len(reasons))
	for _, r := range reasons {
		text := r.Message
		if r.Remedy != "" {
			text += "; " + r.Remedy
		}
		if !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
	}
	count := len(texts) + o.left
	if len(texts) > maxListed {
		texts = texts[:maxListed]
	}
	listed := slices.Clone(texts)
	if more := count - len(listed); more > 0 {
		listed = append(listed, fmt.Sprintf("and %d more", more))
	}
	want.ready, want.reason = false, reasons[0].Code
	want.message = listed[0]
	if count > 1 {
		want.message = fmt.Sprintf("%d problems: %s", count, strings.Join(listed, ". "))
	}
	want.message = cut(want.message, maxMessage)
	if firewall {
		want.summary = firewallFailed
		for _, t := range listed {
			want.messages = append(want.messages, cut(t, maxMessage))
		}
	}
	return want
}

// cut shortens a text to so many bytes.
func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most-len("…")], "") + "…"
}
