package daemon

import (
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
)

// datapathFamily is the generic netlink family of the kernel's Open vSwitch datapath.
const datapathFamily = "ovs_datapath"

// checkKernelDatapath asks the kernel for the datapath. Asking for an unknown family
// makes the kernel itself load the module, with the host's modprobe and from the host's
// modules: neither SYS_MODULE nor a copy of the modules is needed in the container.
func checkKernelDatapath() error {
	_, err := netlink.GenlFamilyGet(datapathFamily)
	if err == nil {
		return nil
	}
	if _, statErr := os.Stat("/sys/module/openvswitch"); errors.Is(statErr, os.ErrNotExist) {
		err = fmt.Errorf("the kernel has no openvswitch module: %w", err)
	}
	return hint(fmt.Errorf("datapath system: %w", err),
		"run `modprobe openvswitch` on the host to see why it does not load, or set datapath: netdev")
}
