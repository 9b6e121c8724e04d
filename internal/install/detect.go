package install

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Detection is a setting that the cluster has decided already.
type Detection struct {
	Path   string `json:"path"` // of the value, for example network.serviceSubnets
	Value  string `json:"value"`
	Source string `json:"source"` // where it was found
}

// The prefix lengths of node subnets when the cluster names none; those of
// kube-controller-manager. OVN-Kubernetes takes no other for IPv6.
const (
	nodeMaskV4 = 24
	nodeMaskV6 = 64
)

// defaultClusterV6 is added to the chart's default when Services have IPv6 too.
const defaultClusterV6 = "fd00:10:244::/48/64"

// detect turns facts into settings, in the order in which they are shown.
func (f *facts) detect(chartPods string) []Detection {
	var all []Detection
	add := func(path, value, source string) {
		if value != "" {
			all = append(all, Detection{path, value, source})
		}
	}
	servers := f.bootstrap()
	add(bootstrapPath, servers.value, servers.source)
	add("network.serviceSubnets", f.services.value, f.services.source)
	switch {
	case f.pods.value != "":
		add("network.clusterSubnets", f.withNodeMasks(f.pods.value), f.pods.source)
	case f.services.value != "":
		v4, v6 := families(f.services.value)
		switch {
		case v4 && v6:
			add("network.clusterSubnets", chartPods+","+defaultClusterV6, "default for dual-stack Services")
		case v6:
			add("network.clusterSubnets", defaultClusterV6, "default for IPv6 Services")
		}
	}
	return all
}

// bootstrapPath is the setting that changes as API servers come and go.
const bootstrapPath = "kubernetes.bootstrapServers"

// bootstrap is all servers as one setting.
func (f *facts) bootstrap() found {
	var urls, sources []string
	for _, s := range f.servers {
		urls = append(urls, s.value)
		if !slices.Contains(sources, s.source) {
			sources = append(sources, s.source)
		}
	}
	return found{strings.Join(urls, ","), strings.Join(sources, ", ")}
}

// withNodeMasks appends to each CIDR the prefix length of a node's subnet.
func (f *facts) withNodeMasks(cidrs string) string {
	var out []string
	for _, cidr := range strings.Split(cidrs, ",") {
		cidr = strings.TrimSpace(cidr)
		prefix, err := netip.ParsePrefix(cidr)
		if err != nil {
			continue // the check of the configuration speaks about a list without it
		}
		mask := f.mask("node-cidr-mask-size-ipv4", f.mask("node-cidr-mask-size", nodeMaskV4))
		if prefix.Addr().Is6() {
			mask = nodeMaskV6
		}
		if prefix.Bits() >= mask { // a cluster of one node, or of small nodes
			mask = min(prefix.Bits()+1, prefix.Addr().BitLen())
		}
		out = append(out, fmt.Sprintf("%s/%d", cidr, mask))
	}
	return strings.Join(out, ",")
}

func (f *facts) mask(flag string, otherwise int) int {
	if n, err := strconv.Atoi(f.manager[flag]); err == nil && n > 0 {
		return n
	}
	return otherwise
}

// families tells which families a list of CIDRs has.
func families(cidrs string) (v4, v6 bool) {
	for _, cidr := range strings.Split(cidrs, ",") {
		if prefix, err := netip.ParsePrefix(strings.TrimSpace(cidr)); err == nil {
			v4, v6 = v4 || prefix.Addr().Is4(), v6 || prefix.Addr().Is6()
		}
	}
	return v4, v6
}

// complete puts what was detected below what the user asked for. It returns the settings
// and those of the detections that count.
func complete(asked values, detected []Detection) (values, []Detection) {
	all := values{}
	var used []Detection
	for _, d := range detected {
		if _, said := asked.at(d.Path); !said {
			all.set(d.Path, d.Value)
			used = append(used, d)
		}
	}
	all.merge(asked.clone())
	return all, used
}
