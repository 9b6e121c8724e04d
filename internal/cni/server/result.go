//go:build linux

package server

import (
	"bytes"
	"encoding/json"
	"net"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/ovnkctl/ovnkctl/internal/cni/plumb"
	"github.com/ovnkctl/ovnkctl/internal/cni/wire"
)

// result is what ADD prints, in the version that the runtime asked for.
func result(c *call, i plumb.Interface) (json.RawMessage, *wire.Error) {
	r := &types100.Result{
		CNIVersion: types100.ImplementedSpecVersion,
		Interfaces: []*types100.Interface{
			{Name: i.Host},
			{Name: i.Name, Mac: i.Network.MAC, Sandbox: c.netns},
		},
	}
	if c.version == types100.ImplementedSpecVersion {
		for _, link := range r.Interfaces {
			link.Mtu = i.MTU
		}
	}
	for _, a := range i.Network.Addresses {
		ip := &types100.IPConfig{
			Interface: types100.Int(1),
			Address:   net.IPNet{IP: a.Addr().AsSlice(), Mask: net.CIDRMask(a.Bits(), a.Addr().BitLen())},
		}
		for _, gw := range i.Network.Gateways {
			if gw.Is4() == a.Addr().Is4() {
				ip.Gateway = gw.AsSlice()
			}
		}
		r.IPs = append(r.IPs, ip)
	}
	for _, route := range plumb.Routes(i.Network) {
		dest := route.Dest.Masked()
		r.Routes = append(r.Routes, &types.Route{
			Dst: net.IPNet{IP: dest.Addr().AsSlice(), Mask: net.CIDRMask(dest.Bits(), dest.Addr().BitLen())},
			GW:  route.NextHop.AsSlice(),
		})
	}
	versioned, err := r.GetAsVersion(c.version)
	if err != nil {
		return nil, wire.Errorf(wire.CodeIncompatibleVersion, "result in CNI version %s: %v", c.version, err)
	}
	var out bytes.Buffer
	if err := versioned.PrintTo(&out); err != nil {
		return nil, wire.Errorf(wire.CodeIO, "encode the result: %v", err)
	}
	return out.Bytes(), nil
}
