// Command sandbox runs a real Kubernetes cluster on one Linux machine, with
// ovnkctl as its network. See docs/sandbox.md.
package main

import (
	"fmt"
	"os"

	"github.com/ovnkctl/ovnkctl/test/sandbox/cli"
	"github.com/ovnkctl/ovnkctl/test/sandbox/node"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == node.InitCommand {
		if err := node.Init(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "node init:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(cli.Main(os.Args[1:]))
}
