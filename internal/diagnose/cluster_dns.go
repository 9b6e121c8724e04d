package diagnose

import (
	"fmt"

	discoveryv1 "k8s.io/api/discovery/v1"
)

// The service that the cluster's names are asked of: installers of Kubernetes agree on these,
// whichever server they run.
const (
	dnsNamespace = "kube-system"
	dnsLabel     = "k8s-app"
	dnsValue     = "kube-dns"
)

var clusterDNS = &Check{
	Code: "OVNK-SVC-004", Severity: Error,
	Title: "nobody answers names in the cluster",
	Meaning: "The service that pods ask for names (label k8s-app=kube-dns in kube-system) has no end point that is ready. " +
		"Connections by address work, those by name fail, so most applications look as if the network were down.",
	Remedy: "See whether the pods of the name server (CoreDNS as a rule) exist and are ready. If there are none, its Deployment was scaled " +
		"to zero or deleted: kubectl -n kube-system scale deployment coredns --replicas=2. If they are there and crash, read their log.",
	causes: []cause{
		{nodeSilent.Code, sameNode}, {nodeComponent.Code, sameNode}, {nodeNetwork.Code, sameNode},
		{podStart.Code, sameNode}, {podInterface.Code, sameNode}, {podClaim.Code, sameNode},
	},
	find: func(c *Cluster, found func(Finding)) {
		if c.Incomplete {
			return
		}
		for i := range c.Objects.Services {
			s := &c.Objects.Services[i]
			if s.Namespace != dnsNamespace || s.Labels[dnsLabel] != dnsValue || len(s.Spec.Selector) == 0 || s.DeletionTimestamp != nil {
				continue
			}
			var endpoints []*discoveryv1.EndpointSlice
			for j := range c.Objects.EndpointSlices {
				e := &c.Objects.EndpointSlices[j]
				if e.Namespace == s.Namespace && e.Labels[discoveryv1.LabelServiceName] == s.Name {
					endpoints = append(endpoints, e)
				}
			}
			if anyReady(endpoints) {
				continue
			}
			p := c.backing(s)
			if p.young > 0 {
				continue // it is about to be ready
			}
			found(Finding{
				Object:  &Object{"Service", s.Namespace, s.Name},
				Message: fmt.Sprintf("service %s/%s selects %d pods, of which %d are ready, and no end point of it is ready", s.Namespace, s.Name, p.settled, p.ready),
				Next:    fmt.Sprintf("kubectl -n %s get deployments,pods,endpointslices -l %s=%s", dnsNamespace, dnsLabel, dnsValue),
				peers:   p.nodes,
			})
		}
	},
}
