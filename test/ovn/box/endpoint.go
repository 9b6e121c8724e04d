//go:build linux

package box

// Endpoint is where a database of the zone listens: "nb", "sb", or "db" for Open vSwitch.
func (z *Zone) Endpoint(db string) string { return z.socket(db) }
