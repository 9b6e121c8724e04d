package cli

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/ovnkctl/ovnkctl/internal/install"
	"github.com/ovnkctl/ovnkctl/internal/version"
)

// waitDefault is how long pods and nodes get to become ready: images are pulled meanwhile.
const waitDefault = 10 * time.Minute

// NewInstallCommand is `ovnkctl install`.
func NewInstallCommand(streams genericiooptions.IOStreams, kube *genericclioptions.ConfigFlags) *cobra.Command {
	f := &installFlags{streams: streams, kube: kube}
	var showValues bool
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Install the network in a cluster",
		Long: `Install the network in a cluster.

What the cluster has decided already (address of the API server, subnets of Services
and pods) is detected, said and stored; what stands in the way is said with what to
do about it, before anything is changed. An installed cluster with the same settings
is left as it is, except for what was changed by hand.

The result is a Helm release named ovnk: helm list, history and rollback see it.
Progress goes to standard error.`,
		Example: `  # Install, and wait until all nodes are ready
  ovnkctl install --wait

  # See what would be applied; the output is pure YAML
  ovnkctl install --dry-run --set gateway.mode=local

  # Without looking at any cluster
  ovnkctl install --dry-run=client --values my-values.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if showValues {
				return writeValues(streams)
			}
			installer, options, err := f.options(cmd)
			if err != nil {
				return err
			}
			return f.print(installer.Install(cmd.Context(), options))
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&showValues, "show-values", false, "write all settings with their explanations and defaults, and do nothing")
	return cmd
}

// installFlags are those that install and upgrade share.
type installFlags struct {
	streams genericiooptions.IOStreams
	kube    *genericclioptions.ConfigFlags
	install.Options
	dryRun string
	diff   bool
	output string
}

func (f *installFlags) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringArrayVarP(&f.Values.Files, "values", "f", nil, "YAML `file` of settings, - for standard input; may be repeated, later ones win")
	fs.StringArrayVar(&f.Values.Set, "set", nil, "settings as `key=value[,key=value]`; may be repeated")
	fs.StringArrayVar(&f.Values.SetString, "set-string", nil, "settings as `key=value` whose values are strings")
	fs.StringVar(&f.dryRun, "dry-run", "", "write the objects as YAML and change nothing; `client` does not look at the cluster")
	fs.Lookup("dry-run").NoOptDefVal = string(install.DryServer)
	fs.BoolVar(&f.diff, "diff", false, "write what would change, object by object, and change nothing; exit code 3 if something would")
	fs.StringSliceVar(&f.SkipChecks, "skip-check", nil, "let `check`s only warn: "+strings.Join(install.CheckNames(), ", ")+", all")
	fs.BoolVar(&f.TakeOwnership, "take-ownership", false, "take over objects of the same names that something else created")
	addWaitFlags(cmd, &f.Wait, &f.Timeout)
	addOutputFlag(cmd, &f.output)
	addKubeFlags(cmd, f.kube)
}

func addWaitFlags(cmd *cobra.Command, wait *bool, timeout *time.Duration) {
	cmd.Flags().BoolVar(wait, "wait", false, "wait until all pods and nodes are ready, and say what is missing")
	cmd.Flags().DurationVar(timeout, "timeout", waitDefault, "how `long` to wait; exit code 5 when it is over")
}

func addOutputFlag(cmd *cobra.Command, output *string) {
	cmd.Flags().StringVarP(output, "output", "o", "", "`format` of the result: json or yaml; empty for people")
}

// addKubeFlags adds the flags that say which cluster is meant. The namespace is that of
// the network, not that of the context.
func addKubeFlags(cmd *cobra.Command, kube *genericclioptions.ConfigFlags) {
	kube.AddFlags(cmd.Flags())
	if flag := cmd.Flags().Lookup("namespace"); flag != nil {
		flag.Usage = "`namespace` of the network; " + install.DefaultNamespace + " when empty"
	}
}

// options checks flags against each other.
func (f *installFlags) options(cmd *cobra.Command) (*install.Installer, install.Options, error) {
	o := f.Options
	switch f.dryRun {
	case "", string(install.DryServer), string(install.DryClient):
		o.Mode = install.Mode(f.dryRun)
	default:
		return nil, o, usageError{cmd.CommandPath(), fmt.Errorf("--dry-run=%s: it is server or client", f.dryRun)}
	}
	if f.diff && f.dryRun != "" {
		return nil, o, usageError{cmd.CommandPath(), errors.New("--diff and --dry-run exclude each other")}
	}
	if f.diff {
		o.Mode = install.Diff
	}
	if err := checkOutput(cmd, f.output); err != nil {
		return nil, o, err
	}
	return newInstaller(f.streams, f.kube), o, nil
}

func checkOutput(cmd *cobra.Command, output string) error {
	switch output {
	case "", "json", "yaml":
		return nil
	}
	return usageError{cmd.CommandPath(), fmt.Errorf("--output=%s: it is json or yaml", output)}
}

func newInstaller(streams genericiooptions.IOStreams, kube *genericclioptions.ConfigFlags) *install.Installer {
	namespace := ""
	if kube.Namespace != nil {
		namespace = *kube.Namespace
	}
	return install.New(install.Config{
		Getter: namedCluster{kube}, Namespace: namespace, Version: version.Version, In: streams.In, Progress: streams.ErrOut,
	})
}

// namedCluster is a kubeconfig that has to name a cluster.
type namedCluster struct{ *genericclioptions.ConfigFlags }

// ToRESTConfig implements genericclioptions.RESTClientGetter.
func (c namedCluster) ToRESTConfig() (*rest.Config, error) {
	access, err := c.ConfigFlags.ToRESTConfig()
	if err == nil {
		err = (&sourceFlags{kube: c.ConfigFlags}).named()
	}
	return access, err
}

// print writes the result, also when the operation ended with an error.
func (f *installFlags) print(r *install.Result, err error) error {
	return errors.Join(err, writeResult(f.streams, f.output, f.dryRun != "", r))
}

func writeResult(streams genericiooptions.IOStreams, output string, dryRun bool, r *install.Result) error {
	switch {
	case r == nil:
		return nil
	case dryRun:
		_, err := fmt.Fprint(streams.Out, r.Manifest)
		return err
	case output != "":
		return writeDocument(streams, output, r)
	case r.Outcome == install.Planned:
		install.WriteChanges(streams.Out, r.Changes)
		return nil
	case r.Outcome == install.Installed:
		_, err := fmt.Fprint(streams.Out, "\n"+r.Notes)
		return err
	}
	return nil
}

func writeDocument(streams genericiooptions.IOStreams, format string, r *install.Result) error {
	marshal := yaml.Marshal
	if format == "json" {
		marshal = marshalJSON
	}
	data, err := marshal(r)
	if err != nil {
		return fmt.Errorf("result: %w", err)
	}
	_, err = streams.Out.Write(data)
	return err
}

func writeValues(streams genericiooptions.IOStreams) error {
	data, err := install.DefaultValues()
	if err != nil {
		return err
	}
	_, err = streams.Out.Write(data)
	return err
}

var errNobody = errors.New("nobody is there to confirm; pass --yes")

// asks tells whether there is a person to ask.
func asks(streams genericiooptions.IOStreams) bool {
	file, ok := streams.In.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// confirm asks a person, and refuses where there is none to ask.
func confirm(streams genericiooptions.IOStreams, question string) (bool, error) {
	if !asks(streams) {
		return false, errNobody
	}
	fmt.Fprintf(streams.ErrOut, "%s Type yes to go on: ", question)
	line, err := bufio.NewReader(streams.In).ReadString('\n')
	return err == nil && strings.TrimSpace(line) == "yes", nil
}
