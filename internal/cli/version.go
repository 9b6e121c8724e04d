package cli

import (
	"errors"
	"runtime"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/ovnkctl/ovnkctl/internal/output"
	"github.com/ovnkctl/ovnkctl/internal/status"
	"github.com/ovnkctl/ovnkctl/internal/version"
)

// versionFlags are those of `ovnkctl version`.
type versionFlags struct {
	sourceFlags
	streams genericiooptions.IOStreams
	output  output.Flags
	client  bool
}

// NewVersionCommand is `ovnkctl version`.
func NewVersionCommand(streams genericiooptions.IOStreams, kube *genericclioptions.ConfigFlags) *cobra.Command {
	f := &versionFlags{streams: streams, sourceFlags: sourceFlags{kube: kube}}
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the versions of this program, and of what runs in the cluster",
		Long: `Print the version of this program, and those of ovnkctl, OVN, Open vSwitch and the kubelets on
each node of the cluster, if a kubeconfig names one. Versions that differ are told: during an
upgrade they do for some minutes.`,
		Example: `  ovnkctl version
  ovnkctl version --client
  ovnkctl version --from bundle.tar.gz
  ovnkctl version -o jsonpath='{.programs[?(@.name=="ovn-controller")].versions[*].version}'`,
		Args: cobra.NoArgs,
		RunE: f.run,
	}
	fs := cmd.Flags()
	fs.BoolVar(&f.client, "client", false, "this program alone: nothing is asked")
	f.output.Add(fs)
	f.addFrom(fs)
	f.addTimeout(fs)
	addKubeFlags(cmd, f.kube)
	return cmd
}

func (f *versionFlags) run(cmd *cobra.Command, _ []string) error {
	if err := f.output.Validate(); err != nil {
		return usageError{cmd.CommandPath(), err}
	}
	if f.client && len(f.from) > 0 {
		return usageError{cmd.CommandPath(), errors.New("--client asks nobody, and --from names a record to ask: leave one of them out")}
	}
	build := status.Build{Version: version.Version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if f.client {
		return output.Print(f.streams, status.ClientRelease(build), &f.output)
	}
	s, err := f.open()
	if errors.As(err, new(noCluster)) && f.named() != nil { // then there is nothing to ask
		return output.Print(f.streams, status.ClientRelease(build), &f.output)
	}
	if err != nil {
		return err
	}
	defer s.Close() //nolint:errcheck // only read
	r, err := status.ReadRelease(cmd.Context(), s, build)
	if err != nil {
		return errors.Join(output.Print(f.streams, status.ClientRelease(build), &f.output), because(err, s))
	}
	return output.Print(f.streams, r, &f.output)
}
