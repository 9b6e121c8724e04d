package host

// For the tests that run this package in a real network namespace.

// TestZone is what the cluster says of node n1.
var TestZone = testZone

// TestServices is a cluster without services that are served outside.
var TestServices = noServices

// TestAllServices has a service of each kind.
var TestAllServices = testServices

// AfterWrites wraps a host so that after is called after each write.
func AfterWrites(h Host, after func()) Host { return (&limited{left: -1, after: after}).wrap(h) }
