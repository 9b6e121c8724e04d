// Command ovnkctl is the network of a Kubernetes cluster and the toolkit that operates
// it. The name it is started under picks the command tree: ovnkctl has everything,
// kubectl-ovnk (`kubectl ovnk`) the operator's commands alone.
package main

import (
	"os"

	"github.com/ovnkctl/ovnkctl/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args, os.Stdin, os.Stdout, os.Stderr))
}
