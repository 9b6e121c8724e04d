package cli

import (
	"errors"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/ovnkctl/ovnkctl/internal/explain"
	"github.com/ovnkctl/ovnkctl/internal/output"
)

// NewExplainCommand is `ovnkctl explain`.
func NewExplainCommand(streams genericiooptions.IOStreams, config *genericclioptions.ConfigFlags, look inspector) *cobra.Command {
	var o explain.Options
	var f output.Flags
	cmd := &cobra.Command{
		Use:   "explain WHAT",
		Short: "Say what something is, whose it is, and who refers to it",
		Long: `Say what WHAT is: a pod, service, node, namespace or policy ([KIND/][NAMESPACE/]NAME), an
address, a MAC, the name of a port, switch, router, load balancer, set, group or ACL, a
UUID, the first eight digits of one, or the cookie of an OpenFlow flow. The answer has the
Kubernetes object behind it and what the cluster says of it, its rows on each node, the rows
that refer to those, and what the nodes' hosts have of it: nftables, routes, flows of br-ex.

With --flows it also has the logical flows that ovn-northd made of the rows, and how many
packets have met them: whether a rule has ever decided anything.`,
		Example: `  ovnkctl explain pod/shop/cart
  ovnkctl explain 10.244.1.7
  ovnkctl explain 0x2d92735
  ovnkctl explain netpol/shop/web
  ovnkctl explain NP:shop:web:Ingress:0 --flows
  ovnkctl explain 0a:58:0a:f4:01:07 --node worker-1`,
		Args: cobra.ExactArgs(1),
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Node, "node", "", "look at the rows of this `node` alone")
	flags.BoolVar(&o.Flows, "flows", false, "show the logical flows that were made of the rows, and their packets")
	f.Add(flags)
	config.AddFlags(flags)
	open := look(flags)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := f.Validate(); err != nil {
			return usageError{cmd.CommandPath(), err}
		}
		if o.Text = strings.TrimSpace(args[0]); o.Text == "" {
			return usageError{cmd.CommandPath(), errors.New("WHAT is empty")}
		}
		if namespace, _, err := config.ToRawKubeConfigLoader().Namespace(); err == nil {
			o.Namespace = namespace
		}
		s, err := open(cmd.Context())
		if err != nil {
			return err
		}
		defer s.Close() //nolint:errcheck // only read
		e, err := explain.Run(cmd.Context(), explain.FromSnapshot(s), o)
		if err != nil {
			return because(err, s)
		}
		return output.Print(streams, Explained{Meta: output.Kind("Explanation"), Explanation: e, unread: unread{s.Problems()}}, &f)
	}
	return cmd
}

// Explained is the document of `ovnkctl explain`.
type Explained struct {
	output.Meta
	*explain.Explanation
	unread
}

// Text implements output.Textual.
func (e Explained) Text(w io.Writer, _ output.Style, wide bool) error {
	return errors.Join(e.Explanation.Text(w, wide), e.unread.text(w))
}

// Names implements output.Named: the object, or what was asked for if there is none.
func (e Explained) Names() []string {
	if e.Object == (explain.Object{}) {
		return []string{e.Subject}
	}
	return []string{strings.ToLower(e.Object.Kind) + "/" + e.Object.Name}
}

// ExitCode implements output.Coded.
func (e Explained) ExitCode() int {
	if len(e.Problems) > 0 || len(e.Unread) > 0 {
		return ExitPartial
	}
	return ExitOK
}
