package world

import (
	"errors"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ovnkctl/ovnkctl/internal/annotation"
)

// Annotations of Kubernetes that limit a pod's bandwidth, quantities in bits per second.
const (
	ingressBandwidth = "kubernetes.io/ingress-bandwidth"
	egressBandwidth  = "kubernetes.io/egress-bandwidth"
)

// configSource tells where a kubelet found a pod: "api", or "file" and "http" for static
// pods.
const configSource = "kubernetes.io/config.source"

// The bounds of a bandwidth annotation in bits per second, as Kubernetes checks them.
const (
	minBandwidth = 1e3
	maxBandwidth = 1e15
)

// FromNode takes what features need out of a Node. What does not parse is left out and
// named in Problems; the Node itself is not kept.
func FromNode(o *corev1.Node) *Node {
	n := &Node{Name: o.Name, UID: string(o.UID), Labels: o.Labels, Created: created(&o.ObjectMeta)}
	for _, a := range o.Status.Addresses {
		if a.Type != corev1.NodeInternalIP {
			continue
		}
		ip, err := netip.ParseAddr(a.Address)
		if err != nil {
			n.Problems = append(n.Problems, Problem{
				Field:   "status.addresses",
				Message: fmt.Sprintf("InternalIP %q is not an IP address", a.Address),
				Remedy:  "correct the --node-ip of the kubelet or the cloud provider",
			})
			continue
		}
		n.InternalIPs = append(n.InternalIPs, ip)
	}

	p := &n.Problems
	n.ID = read(annotation.NodeID, o.Annotations, p)
	n.Subnets = read(annotation.NodeSubnets, o.Annotations, p)
	n.Transit = read(annotation.NodeTransit, o.Annotations, p)
	n.ChassisID = read(annotation.NodeChassisID, o.Annotations, p)
	n.PrimaryAddrs = read(annotation.NodePrimaryAddrs, o.Annotations, p)
	n.HostAddrs = read(annotation.NodeHostAddrs, o.Annotations, p)
	n.EncapIPs = read(annotation.NodeEncapIPs, o.Annotations, p)
	if n.EncapIPs == nil && len(n.InternalIPs) > 0 {
		n.EncapIPs = n.InternalIPs[:1:1]
	}
	supported, ok, err := annotation.GatewayMTUSupport.Get(o.Annotations)
	n.NoGatewayMTU = ok && !supported
	note(p, err)
	g, ok, err := annotation.L3Gateway.Get(o.Annotations)
	note(p, err)
	if ok && g.Mode != annotation.ModeDisabled {
		n.Gateway = &Gateway{
			Mode:        GatewayMode(g.Mode),
			BridgeID:    g.BridgeID,
			InterfaceID: g.InterfaceID,
			MAC:         g.MAC,
			Addresses:   g.Addresses,
			NextHops:    g.NextHops,
			VLAN:        g.VLAN,
			NodePort:    g.NodePort,
		}
	}
	return n
}

// FromPod takes what features need out of a Pod. What does not parse is left out and
// named in Problems; the Pod itself is not kept.
func FromPod(o *corev1.Pod) *Pod {
	p := &Pod{
		Namespace:   o.Namespace,
		Name:        o.Name,
		UID:         string(o.UID),
		Node:        o.Spec.NodeName,
		Labels:      o.Labels,
		Created:     created(&o.ObjectMeta),
		HostNetwork: o.Spec.HostNetwork,
		Finished:    finished(o),
		Deleting:    o.DeletionTimestamp != nil,
		Started:     o.Status.PodIP != "",
	}
	if source := o.Annotations[configSource]; source != "" && source != "api" {
		p.Static = true
	}
	lastingPorts(&o.Spec, p.namedPort)
	if p.HostNetwork {
		if !p.Finished {
			p.IPs = reportedIPs(o)
		}
		return p // has neither attachments nor limits, whatever its annotations say
	}
	if networks := read(annotation.PodNetworks, o.Annotations, &p.Problems); len(networks) > 0 {
		p.Networks = make(map[string]PodNetwork, len(networks))
		for name, n := range networks {
			p.Networks[name] = podNetwork(n)
		}
	}
	p.IngressRate = p.bandwidth(o.Annotations, ingressBandwidth)
	p.EgressRate = p.bandwidth(o.Annotations, egressBandwidth)
	lastingPorts(&o.Spec, p.hostPort)
	return p
}

// created is 0 where the object has no creation time, as in hand-written files.
func created(o *metav1.ObjectMeta) int64 {
	if o.CreationTimestamp.IsZero() {
		return 0
	}
	return o.CreationTimestamp.Unix()
}

func podNetwork(a annotation.PodNetwork) PodNetwork {
	n := PodNetwork{Addresses: a.Addresses, MAC: a.MAC, Gateways: a.Gateways}
	for _, r := range a.Routes {
		n.Routes = append(n.Routes, Route(r))
	}
	return n
}

// bandwidth reads one limit; 0 is no limit.
func (p *Pod) bandwidth(annotations map[string]string, key string) int64 {
	text, ok := annotations[key]
	if !ok {
		return 0
	}
	q, err := resource.ParseQuantity(text)
	if err == nil && q.Value() >= minBandwidth && q.Value() <= maxBandwidth {
		return q.Value()
	}
	p.Problems = append(p.Problems, Problem{
		Field:   key,
		Message: fmt.Sprintf("%q is not a bandwidth from 1k to 1P bits per second; the pod has no limit", text),
		Remedy:  "write a quantity such as 10M",
	})
	return 0
}

// read is the annotation's value, zero where there is none or a problem.
func read[T any](c *annotation.Codec[T], annotations map[string]string, problems *[]Problem) T {
	value, _, err := c.Get(annotations)
	note(problems, err)
	return value
}

func note(problems *[]Problem, err error) {
	if e := new(annotation.Error); errors.As(err, &e) {
		*problems = append(*problems, Problem{Field: e.Key, Message: e.Message(), Remedy: e.Remedy})
	}
}
