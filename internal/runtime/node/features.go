package node

import (
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/config"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	queries "github.com/ovnkctl/ovnkctl/internal/runtime/feature/dns"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/hostports"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/multicast"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/pods"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/policy"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/services"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/topology"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// Features are all features of a zone. What protects a pod comes before its port, so that
// it is in the same transaction or an earlier one.
func Features(c *config.Config) []feature.Feature {
	return []feature.Feature{
		topology.Feature{},
		policy.Feature{AllowICMP: c.Policy.AllowICMPNetworkPolicy, LogsPerSecond: c.Policy.ACLLoggingRateLimit},
		multicast.Feature{},
		pods.Feature{}, services.Feature{}, hostports.Feature{}, queries.Feature{Service: dnsService(c)},
	}
}

// dnsService is the cluster's DNS service, whose name the configuration's checks have seen.
func dnsService(c *config.Config) world.ServiceKey {
	namespace, name, _ := strings.Cut(c.Policy.DNSService, "/")
	return world.ServiceKey{Namespace: namespace, Name: name}
}
