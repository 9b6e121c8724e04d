package diagnose

import (
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/hostports"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/pods"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/policy"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/services"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/topology"
)

// Features that checks know something of; all others are compared alike.
const (
	topologyFeature  = topology.Name
	podsFeature      = pods.Name
	servicesFeature  = services.Name
	hostPortsFeature = hostports.Name
	policyFeature    = policy.Name
)
