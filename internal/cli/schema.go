package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/ovnkctl/ovnkctl/internal/collect"
	"github.com/ovnkctl/ovnkctl/internal/diagnose"
	"github.com/ovnkctl/ovnkctl/internal/explain"
	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/logs"
	"github.com/ovnkctl/ovnkctl/internal/output"
	"github.com/ovnkctl/ovnkctl/internal/reach"
	"github.com/ovnkctl/ovnkctl/internal/status"
	"github.com/ovnkctl/ovnkctl/internal/trace"
)

// documents are one of each kind of document that commands print.
func documents() []any {
	return []any{
		collect.Collection{Meta: output.Kind("Collection")},
		collect.Estimate{Meta: output.Kind("CollectionEstimate")},
		diagnose.Document(), diagnose.ChangeDocument(), diagnose.RepairDocument(), diagnose.EmptyListing(), diagnose.TimelineDocument(),
		logs.NewDocument(inspect.Origin{}, nil, nil), status.Document(), status.ClientRelease(status.Build{}),
		Traced{Meta: output.Kind("Trace"), Result: &trace.Result{}},
		TraceChange{Meta: output.Kind("TraceChange"), Change: trace.Change{Trace: &trace.Result{}}},
		Reached{Meta: output.Kind("Reachability"), Result: &reach.Result{}},
		Explained{Meta: output.Kind("Explanation"), Explanation: &explain.Explanation{}},
		output.Error{Meta: output.Kind("Error")},
	}
}

// NewSchemaCommand is `ovnkctl schema`.
func NewSchemaCommand(streams genericiooptions.IOStreams) *cobra.Command {
	return &cobra.Command{
		Use:   "schema [KIND]",
		Short: "Print the JSON Schema of a document, or list the kinds of documents",
		Long: `Print the JSON Schema (draft 2020-12) of the documents that -o json and -o yaml
write, by their kind, or the list of kinds. Within one apiVersion fields are only added.`,
		Example: `  ovnkctl schema
  ovnkctl schema Collection > collection.schema.json`,
		Args:      cobra.MaximumNArgs(1),
		ValidArgs: kinds(),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				_, err := fmt.Fprintln(streams.Out, strings.Join(kinds(), "\n"))
				return err
			}
			for _, d := range documents() {
				if strings.EqualFold(output.KindOf(d), args[0]) {
					schema, err := output.Schema(d)
					if err != nil {
						return err
					}
					return output.JSON(streams.Out, schema)
				}
			}
			return usageError{cmd.CommandPath(), fmt.Errorf("no document is of kind %q; the kinds are %s", args[0], strings.Join(kinds(), ", "))}
		},
	}
}

func kinds() []string {
	var names []string
	for _, d := range documents() {
		names = append(names, output.KindOf(d))
	}
	slices.Sort(names)
	return names
}
