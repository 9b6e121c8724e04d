package inspect

import "strings"

// Artefact is a text that a snapshot has of each node.
type Artefact struct {
	Name string
	What string // for people
	argv []string
}

// The names of texts, for Node.Text. Those of bridges are followed by the bridge's name,
// e.g. TextFlows + "br-int".
const (
	TextFlows   = "flows/"
	TextGroups  = "groups/"
	TextMeters  = "meters/"
	TextPorts   = "ports/"
	TextNFT     = "nft"
	TextNFTJSON = "nft.json"
	TextLinks   = "ip-links.json"
	TextRules   = "ip-rules.json"
	TextRoutes  = "ip-routes.json"
	// TextRoutes6 and TextRules6 are those of IPv6, which ip lists apart.
	TextRoutes6       = "ip6-routes.json"
	TextRules6        = "ip6-rules.json"
	TextNeighbours    = "ip-neighbours.json"
	TextDatapathFlows = "datapath-flows"
	TextConntrack     = "conntrack"
	TextDatapath      = "datapath"
	TextVersionOVS    = "version-ovs-vswitchd"
	TextVersionCtl    = "version-ovn-controller"
	TextVersionNorthd = "version-ovn-northd"
	TextVersion       = "version-ovnkctl"
	TextKernel        = "kernel"
	TextCoverageOVS   = "coverage-ovs-vswitchd"
	TextCoverageCtl   = "coverage-ovn-controller"
	TextNorthdStatus  = "status-ovn-northd"
	TextCtlStatus     = "status-ovn-controller"
	TextCtZones       = "ct-zones"
	// TextNodeCheck is a nodecheck.Report, as JSON.
	TextNodeCheck = "node-check.json"
	// TextPodStarts is a history.Document, as JSON.
	TextPodStarts  = "pod-starts.json"
	logPrefix      = "logs/"
	previousSuffix = ".previous"
)

// Artefacts are the texts that are of each node once.
var Artefacts = []Artefact{
	{TextDatapath, "datapaths and their ports", []string{"ovs-appctl", "-t", "ovs-vswitchd", "dpif/show"}},
	{TextDatapathFlows, "flows of the datapath", []string{"ovs-appctl", "-t", "ovs-vswitchd", "dpctl/dump-flows", "-m"}},
	{TextConntrack, "connections that are tracked", []string{"ovs-appctl", "-t", "ovs-vswitchd", "dpctl/dump-conntrack", "-m"}},
	{TextCoverageOVS, "events of ovs-vswitchd", []string{"ovs-appctl", "-t", "ovs-vswitchd", "coverage/show"}},
	{TextVersionOVS, "version of ovs-vswitchd", []string{"ovs-appctl", "-t", "ovs-vswitchd", "version"}},
	{TextVersionCtl, "version of ovn-controller", []string{"ovn-appctl", "-t", "ovn-controller", "version"}},
	{TextVersionNorthd, "version of ovn-northd", []string{"ovn-appctl", "-t", "ovn-northd", "version"}},
	{TextCoverageCtl, "events of ovn-controller", []string{"ovn-appctl", "-t", "ovn-controller", "coverage/show"}},
	{TextCtlStatus, "connection of ovn-controller", []string{"ovn-appctl", "-t", "ovn-controller", "connection-status"}},
	{TextCtZones, "zones of the connection tracker", []string{"ovn-appctl", "-t", "ovn-controller", "ct-zone-list"}},
	{TextNorthdStatus, "status of ovn-northd", []string{"ovn-appctl", "-t", "ovn-northd", "status"}},
	{TextVersion, "version of ovnkctl", []string{"/usr/bin/ovnkctl", "version", "--client"}},
	{TextNodeCheck, "what the node found when it tried itself out", []string{"/usr/bin/ovnkctl", "run", "check", "--config=/etc/ovnkctl/config.yaml"}},
	{TextPodStarts, "how pods got their network lately", []string{"/usr/bin/ovnkctl", "run", "starts", "--config=/etc/ovnkctl/config.yaml"}},
	{TextKernel, "kernel", []string{"uname", "-a"}},
	{TextNFT, "nftables", []string{"nft", "-a", "list", "ruleset"}},
	{TextNFTJSON, "nftables", []string{"nft", "-j", "list", "ruleset"}},
	{TextLinks, "links and addresses", []string{"ip", "-json", "-details", "-stats", "address", "show"}},
	{TextRoutes, "routes", []string{"ip", "-json", "-details", "-4", "route", "show", "table", "all"}},
	{TextRoutes6, "routes", []string{"ip", "-json", "-details", "-6", "route", "show", "table", "all"}},
	{TextRules, "routing rules", []string{"ip", "-json", "-details", "-4", "rule", "show"}},
	{TextRules6, "routing rules", []string{"ip", "-json", "-details", "-6", "rule", "show"}},
	{TextNeighbours, "neighbours", []string{"ip", "-json", "neighbour", "show"}},
}

// ofBridge are the texts of each bridge. OpenFlow 1.5 has all that OVN uses; the flags ask
// for as little rewriting as possible.
var ofBridge = []struct {
	prefix string
	argv   []string
}{
	{TextFlows, []string{"ovs-ofctl", "-O", "OpenFlow15", "--no-names", "dump-flows"}},
	{TextGroups, []string{"ovs-ofctl", "-O", "OpenFlow15", "dump-groups"}},
	{TextMeters, []string{"ovs-ofctl", "-O", "OpenFlow15", "dump-meters"}},
	{TextPorts, []string{"ovs-ofctl", "-O", "OpenFlow15", "dump-ports-desc"}},
}

func fixedTexts() []string {
	var names []string
	for _, a := range Artefacts {
		names = append(names, a.Name)
	}
	return names
}

func bridgeTexts(bridge string) []string {
	var names []string
	for _, b := range ofBridge {
		names = append(names, b.prefix+bridge)
	}
	return names
}

// command is the program that prints a text.
func command(name string) ([]string, bool) {
	for _, a := range Artefacts {
		if a.Name == name {
			return a.argv, true
		}
	}
	for _, b := range ofBridge {
		if bridge, ok := strings.CutPrefix(name, b.prefix); ok && bridge != "" && bridge[0] != '-' {
			return append(b.argv[:len(b.argv):len(b.argv)], bridge), true
		}
	}
	return nil, false
}

// TextLog is the name of the log of a container of the network's pods.
func TextLog(pod, container string) string { return logText(pod, container, false) }

// logText is the name of a container's log.
func logText(pod, container string, previous bool) string {
	name := logPrefix + pod + "/" + container
	if previous {
		name += previousSuffix
	}
	return name
}

func logName(name string) (pod, container string, previous, ok bool) {
	rest, ok := strings.CutPrefix(name, logPrefix)
	if !ok {
		return "", "", false, false
	}
	rest, previous = strings.CutSuffix(rest, previousSuffix)
	pod, container, ok = strings.Cut(rest, "/")
	return pod, container, previous, ok
}
