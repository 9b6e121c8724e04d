package diagnose

// CodePrefix is how all codes begin.
const CodePrefix = "OVNK-"

// All are all checks, causes before what they explain, so that of two findings that may be
// each other's cause the deeper one stands.
func All() []*Check {
	return []*Check{
		nodeSilent, podMTU, nodeComponent, controlPlane, daemonSilent, databaseUnread,
		kubeProxy, proxyRules, hostTables, hostSysctl, versionSkew,
		nodeIncomplete, chassisIdentity, nodeConflict,
		northdBehind, integrationBridge, controllerBehind,
		externalBridge, nextHop, nodeNetwork, encapAddress, remoteChassis, tunnelPort,
		subnetFull, podObject, podAllocation, podPort, podInterface, podAddress, podStart, stalePort, staleInterface,
		serviceObject, serviceRows, policyObject,
		flowDrift, hostDrift, drift, gatewayClaim, podClaim, foreignRows,
		tunnelTraffic, tunnelMTU, clusterDNS, serviceNowhere, policyPort, policyNobody,
	}
}

// Find is a check by its code.
func Find(code string) (*Check, bool) {
	for _, c := range All() {
		if c.Code == code {
			return c, true
		}
	}
	return nil, false
}
