package install

import (
	"context"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// checkAPIServer: agents that bring Services about cannot reach the API server by its own
// Service at first, so they need another address.
func checkAPIServer(_ context.Context, s *subject) ([]Finding, error) {
	k := s.config.Kubernetes
	named := addresses(k.BootstrapServers)
	if k.APIServer != "" {
		named = addresses(k.APIServer)
	}
	if len(named) == 0 {
		return []Finding{fail("name one API server or more: --set kubernetes.bootstrapServers=https://HOST:PORT",
			"no address of the API server was found that nodes can reach before Services work")}, nil
	}
	plan, err := s.config.DefaultNetwork()
	if err != nil {
		return nil, err
	}
	for _, host := range named {
		a, err := netip.ParseAddr(host)
		if err == nil && slices.ContainsFunc(plan.ServiceSubnets, func(p netip.Prefix) bool { return p.Contains(a) }) {
			return []Finding{fail("leave kubernetes.apiServer and kubernetes.bootstrapServers out, or name an API server's own address",
				"%s is an address of a Service, where nobody answers before the network runs", host)}, nil
		}
	}
	return s.staleServers(named), nil
}

// staleServers: what an earlier installation stored may name machines that are gone. Nodes
// that run know better; one that joins does not.
func (s *subject) staleServers(named []string) []Finding {
	now := s.facts.bootstrap()
	if now.value == "" {
		return nil
	}
	present := addresses(now.value)
	for _, host := range named {
		if _, err := netip.ParseAddr(host); err != nil || slices.Contains(present, host) {
			return nil // a name may lead to anything
		}
	}
	return []Finding{warn("--set "+bootstrapPath+"="+strings.ReplaceAll(now.value, ",", `\,`),
		"none of the addresses %s is one of the API servers' (%s): a node that joins could not reach them", strings.Join(named, ", "), now.source)}
}

// addresses are the hosts of a list of URLs.
func addresses(urls string) []string {
	var out []string
	for entry := range strings.SplitSeq(urls, ",") {
		if u, err := url.Parse(strings.TrimSpace(entry)); err == nil && u.Hostname() != "" {
			out = append(out, u.Hostname())
		}
	}
	return out
}
