package diagnose

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/nodecheck"
	"github.com/ovnkctl/ovnkctl/internal/ovn/vswitch"
)

func init() { faults = append(faults, hostFaults...) }

var hostFaults = []faulty{
	{code: "OVNK-HOST-002", state: func(_ *testing.T, c *Cluster) { c.Nodes[0].Texts[inspect.TextNFT] = "" }},
	{code: "OVNK-HOST-003", state: func(_ *testing.T, c *Cluster) {
		c.Nodes[0].Texts[inspect.TextNFT] += "table ip nat {\n\tchain KUBE-SERVICES { # handle 7\n\t}\n}\n"
	}},
	{code: "OVNK-BR-004", state: onNodeCheck(func(r *nodecheck.Report) {
		r.Hops = []nodecheck.Hop{
			{Address: netip.MustParseAddr("172.30.0.9"), State: "FAILED"}, // none of the gateway's
			{Address: netip.MustParseAddr("172.30.0.1"), State: "INCOMPLETE"},
			{Address: netip.MustParseAddr("fd30::1"), State: "STALE", Answers: true},
		}
	})},
	{code: "OVNK-MTU-001", state: func(t *testing.T, c *Cluster) {
		onOVS(t, c, func(i *vswitch.Interface) bool { return i.Name == "eth0" }).MTU = ptr(1450)
	}},
	{code: "OVNK-IPAM-002", objects: func(o *inspect.Objects, _ *inspect.Installation) {
		for i := 4; i < 245; i++ {
			p := appPod(1)
			p.Name, p.UID = fmt.Sprintf("many-%d", i), "many-uid"
			p.Annotations[networks] = fmt.Sprintf(
				`{"default":{"ip_addresses":["10.244.1.%d/24"],"mac_address":"0a:58:0a:f4:01:%02x","gateway_ips":["10.244.1.1"],"role":"primary"}}`, i, i)
			p.Status.PodIP = fmt.Sprintf("10.244.1.%d", i)
			p.Status.PodIPs[0].IP = p.Status.PodIP
			o.Pods = append(o.Pods, p)
		}
	}},
}
