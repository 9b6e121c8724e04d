package cli

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/ovnkctl/ovnkctl/internal/diagnose"
	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/install"
	"github.com/ovnkctl/ovnkctl/internal/logs"
	"github.com/ovnkctl/ovnkctl/internal/output"
)

// completionTime bounds how long a shell waits for names: without a cluster there are none.
const completionTime = 2 * time.Second

// completer completes words of command lines with what there is in the cluster, or in the
// record that the line names. It is silent about what goes wrong, as shells want it.
type completer struct {
	kube *genericclioptions.ConfigFlags
}

// names lists words.
type names func(ctx context.Context, s *inspect.Snapshot, namespace string) []string

// completes teaches all commands to complete their arguments and flags.
func completes(root *cobra.Command, kube *genericclioptions.ConfigFlags) {
	c := &completer{kube}
	ends := c.words(c.ends, true)
	of := map[string]cobra.CompletionFunc{
		"trace": upTo(2, ends), "reach": ends, "explain": upTo(1, c.words(c.objects, true)),
		"logs": c.words(c.logs, false), "diagnose": c.checks, "help": c.topics,
	}
	for _, cmd := range root.Commands() {
		if f := of[cmd.Name()]; f != nil {
			cmd.ValidArgs, cmd.ValidArgsFunction = nil, f
		}
		c.flags(cmd)
	}
}

// upTo completes the first arguments alone.
func upTo(n int, f cobra.CompletionFunc) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if len(args) >= n {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return f(cmd, args, word)
	}
}

// flags completes the values of a command's flags.
func (c *completer) flags(cmd *cobra.Command) {
	words := func(list ...string) cobra.CompletionFunc {
		return func(_ *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
			return matching(slices.Clone(list), word), cobra.ShellCompDirectiveNoFileComp
		}
	}
	nodes := c.words(c.nodes, false)
	for name, f := range map[string]cobra.CompletionFunc{
		"color": words(output.ColorAuto, output.ColorAlways, output.ColorNever), "expect": nil,
		"protocol": words("tcp", "udp", "sctp", "icmp", "arp"), "family": words("4", "6"),
		"level": words("debug", "info", "warn", "error"), "fail-on": words("info", "warning", "error", "never"),
		"node": nodes, "nodes": nodes, "via": nodes,
		"namespace": c.words(c.namespaces, false), "network-namespace": c.words(c.namespaces, false),
		"context": c.contexts, "dry-run": words(string(install.DryServer), string(install.DryClient)),
	} {
		flag := cmd.Flags().Lookup(name)
		if name == "expect" && flag != nil && cmd.Name() == "trace" {
			f = words("allowed", "dropped") // of others it is a file
		}
		if flag != nil && f != nil {
			_ = cmd.RegisterFlagCompletionFunc(name, f) // fails for flags that are not there
		}
	}
	if flag := cmd.Flags().Lookup("output"); flag != nil {
		forms := flag.Annotations[output.FormsAnnotation]
		if forms == nil {
			forms = []string{"json", "yaml"}
		}
		_ = cmd.RegisterFlagCompletionFunc("output", words(forms...))
	}
}

// words completes a word with names. Of names with slashes, as many as the next slash are
// offered where that leaves fewer.
func (c *completer) words(list names, slashes bool) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(context.Background(), completionTime)
		defer cancel()
		s, namespace := c.open(cmd)
		if s == nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer s.Close() //nolint:errcheck // only read
		var out []string
		for _, name := range list(ctx, s, namespace) {
			if strings.HasPrefix(name, word) && !slices.Contains(args, name) {
				out = append(out, name)
			}
		}
		slices.Sort(out)
		if slashes {
			return shorten(slices.Compact(out), word)
		}
		return slices.Compact(out), cobra.ShellCompDirectiveNoFileComp
	}
}

// shorten cuts names at the next slash behind a word, if there is a choice before it.
func shorten(list []string, word string) ([]string, cobra.ShellCompDirective) {
	var out []string
	cut := false
	if len(list) == 1 {
		return list, cobra.ShellCompDirectiveNoFileComp
	}
	for _, name := range list {
		rest := name[len(word):]
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			name, cut = word+rest[:i+1], true
		}
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	if cut && len(out) == 1 && len(list) > 1 { // no choice yet: go on behind the slash
		return shorten(list, out[0])
	}
	if cut {
		return out, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// open opens what the command line names, and says which namespace names without one are in.
func (c *completer) open(cmd *cobra.Command) (*inspect.Snapshot, string) {
	f := &sourceFlags{kube: c.kube, timeout: completionTime}
	f.from, _ = cmd.Flags().GetStringSlice("from") // not all commands have it
	// Cobra may read the line more than once before it asks.
	slices.Sort(f.from)
	f.from = slices.Compact(f.from)
	f.network, _ = cmd.Flags().GetString("network-namespace")
	if f.network == "" && cmd.Flags().Lookup("network-namespace") != nil {
		f.network = install.DefaultNamespace
	}
	s, err := f.open()
	if err != nil {
		return nil, ""
	}
	namespace, _, err := c.kube.ToRawKubeConfigLoader().Namespace()
	if err != nil || namespace == "" {
		namespace = "default"
	}
	return s, namespace
}

func (c *completer) nodes(ctx context.Context, s *inspect.Snapshot, _ string) []string {
	list, _ := s.Nodes(ctx) // there may be none
	return list
}

func (c *completer) namespaces(ctx context.Context, s *inspect.Snapshot, _ string) []string {
	o, err := s.Objects(ctx, inspect.Namespaces)
	if err != nil {
		return nil
	}
	var out []string
	for i := range o.Namespaces {
		out = append(out, o.Namespaces[i].Name)
	}
	return out
}

// ends are the pods, services and nodes as trace and reach take them.
func (c *completer) ends(ctx context.Context, s *inspect.Snapshot, namespace string) []string {
	o, err := s.Objects(ctx, inspect.Nodes, inspect.Pods, inspect.Services)
	if err != nil {
		return nil
	}
	out := c.pods(ctx, s, namespace)
	for i := range o.Nodes {
		out = append(out, "node/"+o.Nodes[i].Name)
	}
	for i := range o.Services {
		out = append(out, named("svc", o.Services[i].Namespace, o.Services[i].Name, namespace)...)
	}
	return out
}

func (c *completer) pods(ctx context.Context, s *inspect.Snapshot, namespace string) []string {
	o, err := s.Objects(ctx, inspect.Pods)
	if err != nil {
		return nil
	}
	var out []string
	for i := range o.Pods {
		out = append(out, named("pod", o.Pods[i].Namespace, o.Pods[i].Name, namespace)...)
	}
	return out
}

// objects are all that explain takes by name.
func (c *completer) objects(ctx context.Context, s *inspect.Snapshot, namespace string) []string {
	out := c.ends(ctx, s, namespace)
	for _, n := range c.namespaces(ctx, s, namespace) {
		out = append(out, "ns/"+n)
	}
	o, err := s.Objects(ctx, inspect.NetworkPolicies, inspect.EgressFirewalls)
	if err != nil {
		return out
	}
	for i := range o.NetworkPolicies {
		out = append(out, "netpol/"+o.NetworkPolicies[i].Namespace+"/"+o.NetworkPolicies[i].Name)
	}
	for i := range o.EgressFirewalls {
		out = append(out, "ef/"+o.EgressFirewalls[i].Namespace+"/"+o.EgressFirewalls[i].Name)
	}
	return out
}

// named is how an object may be written: with its kind, without, and in the own namespace by
// its name alone.
func named(kind, namespace, name, own string) []string {
	out := []string{kind + "/" + namespace + "/" + name, namespace + "/" + name}
	if namespace == own {
		out = append(out, name)
	}
	return out
}

func (c *completer) logs(ctx context.Context, s *inspect.Snapshot, _ string) []string {
	nodes, _ := s.Nodes(ctx) // there may be none
	out := slices.Clone(nodes)
	for _, n := range nodes {
		list, _ := logs.Snapshot{Snapshot: s}.Logs(ctx, n) // as above
		for _, l := range list {
			out = append(out, l.Container)
		}
	}
	return out
}

// checks completes areas and codes of findings, and pods behind "pod".
func (c *completer) checks(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if strings.Contains(word, "/") || len(args) == 1 && args[0] == "pod" {
		return upTo(2, c.words(c.pods, true))(cmd, args, word)
	}
	return matching(append(diagnose.Areas(), codes()...), word), cobra.ShellCompDirectiveNoFileComp
}

// topics completes what help is about.
func (c *completer) topics(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	list := codes()
	for _, sub := range cmd.Root().Commands() {
		if sub.IsAvailableCommand() {
			list = append(list, sub.Name())
		}
	}
	return matching(list, word), cobra.ShellCompDirectiveNoFileComp
}

func codes() []string {
	var out []string
	for _, check := range diagnose.All() {
		out = append(out, check.Code)
	}
	return out
}

func matching(list []string, word string) []string {
	return slices.DeleteFunc(list, func(s string) bool { return !strings.HasPrefix(strings.ToLower(s), strings.ToLower(word)) })
}

// contexts are those of the kubeconfig.
func (c *completer) contexts(_ *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
	raw, err := c.kube.ToRawKubeConfigLoader().RawConfig()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for name := range raw.Contexts {
		out = append(out, name)
	}
	slices.Sort(out)
	return matching(out, word), cobra.ShellCompDirectiveNoFileComp
}
