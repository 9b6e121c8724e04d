// Package repair is what somebody asks of a node's program who has seen that what it keeps is
// not as it should be: to look again.
//
//	ovnkctl diagnose --repair ── pods/exec ──> ovnkctl run repair ── socket ──> ovnkctl node
package repair

// Request asks for keys of features, for the host, or for both.
type Request struct {
	Keys []Key `json:"keys,omitempty"`
	// Host asks for a look at the whole host.
	Host bool `json:"host,omitempty"`
}

// Key names rows of the node's databases: "shop/cart" of the feature "pods".
type Key struct {
	Feature string `json:"feature"`
	Key     string `json:"key"`
}

// Result is what came of a look.
type Result string

// The results.
const (
	// Done: what is wanted is in the database, or on the host.
	Done Result = "done"
	// Failed: it could not be written, or waits for something.
	Failed Result = "failed"
	// Unknown: the node runs no such feature.
	Unknown Result = "unknown"
	// Timeout: it was not written in time, and is worked on still.
	Timeout Result = "timeout"
)

// Outcome is what came of one key.
type Outcome struct {
	Key
	Result Result `json:"result"`
	// Why is why it is not done.
	Why string `json:"why,omitempty"`
}

// HostOutcome is what came of the host.
type HostOutcome struct {
	Result Result `json:"result"`
	Why    string `json:"why,omitempty"`
}

// Answer is the answer to a Request; Host is there if it was asked for.
type Answer struct {
	Keys []Outcome    `json:"keys,omitempty"`
	Host *HostOutcome `json:"host,omitempty"`
}
