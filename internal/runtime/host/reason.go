package host

import (
	"fmt"
	"strconv"
)

// Reason says what is not as it should be, why, and what to do about it.
type Reason struct {
	Code    string // CamelCase, stable
	Message string // what failed, with the decisive value
	Remedy  string // what to do next; empty when it comes right by itself
}

// The codes of Reasons.
const (
	CodeNoSwitch       = "OpenVSwitchNotRunning"
	CodeNoInterface    = "GatewayInterfaceMissing"
	CodeBadInterface   = "GatewayInterfaceUnusable"
	CodeNoDefaultRoute = "NoDefaultRoute"
	CodeNoAddress      = "GatewayAddressMissing"
	CodeMTU            = "MTUTooLarge"
	CodeVLAN           = "VLANNotSupported"
	CodeEncap          = "EncapAddressUnusable"
	CodeBridge         = "BridgeNotReady"
	CodeMove           = "MoveIncomplete"
	CodeNoSubnets      = "NoNodeSubnets"
	CodeManagement     = "ManagementPortNotReady"
	CodePatchPort      = "PatchPortMissing"
	CodeFlows          = "FlowsNotInstalled"
	CodeHost           = "HostRefuses"
	CodeStarting       = "Starting"
)

// Error is the reason as one line.
func (r Reason) Error() string {
	s := r.Code + ": " + r.Message
	if r.Remedy != "" {
		s += "; " + r.Remedy
	}
	return s
}

func reason(code, remedy, format string, args ...any) *Reason {
	return &Reason{Code: code, Message: fmt.Sprintf(format, args...), Remedy: remedy}
}

func itoa(n int) string { return strconv.Itoa(n) }
