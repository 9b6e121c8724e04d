package host

// For the tests that run this package in a real network namespace.

// TestZone is what the cluster says of node n1.
var TestZone = testZone

// AfterWrites wraps a host so that after is called after each write.
func AfterWrites(h Host, after func()) Host { return (&limited{left: -1, after: after}).wrap(h) }
