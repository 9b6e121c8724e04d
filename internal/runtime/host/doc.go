// Package host is everything that `ovnkctl node` does to the machine it runs on: the
// external bridge that takes over the gateway NIC, the management port, and the routes,
// rules and flows that lead between the host, its pods and the outside.
//
//	           addresses, routes of eth0              .2 of the node's pod subnets
//	                    │                                      │
//	br-ex ─ LOCAL ── br-ex                                ovn-k8s-mp0
//	  │  └ patch ─────────────── br-int ── internal port ──────┘
//	 eth0                          └─ pods, tunnels
//
// It has the shape of a feature: what the host should have is computed from the
// configuration, the cluster's word on this node and what the host reports (pure), then
// compared with what the Open vSwitch database, netlink, nft and OpenFlow report, and
// only what differs is written. There is no journal: every step can be told from what is
// there, so that a kill at any moment, a reboot, a restart of Open vSwitch and a table
// flushed by hand are all just differences.
package host
