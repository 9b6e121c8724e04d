// ovn-k8s-cni-overlay is the CNI plugin: `ovnkctl node` copies it to the host, and the
// container runtime starts it for every pod that comes or goes.
package main

import (
	"os"

	"github.com/ovnkctl/ovnkctl/internal/cni/shim"
	"github.com/ovnkctl/ovnkctl/internal/cni/wire"
)

func main() {
	os.Exit(shim.Run(shim.Config{
		Getenv: os.Getenv,
		Stdin:  os.Stdin,
		Stdout: os.Stdout,
		Socket: wire.DefaultSocket,
	}))
}
