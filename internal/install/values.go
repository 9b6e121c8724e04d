package install

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"

	"helm.sh/helm/v4/pkg/strvals"
	"sigs.k8s.io/yaml"

	embedded "github.com/ovnkctl/ovnkctl/deploy/helm"
)

// Values are settings of the chart, in the ways that Helm takes them. Later ones win:
// files in their order, then Set, then SetString.
type Values struct {
	Files     []string // paths; "-" is standard input
	Set       []string // key=value,key2=value2
	SetString []string // the same, every value a string
}

// values is a tree of settings as YAML has them.
type values map[string]any

// read is the tree that the user asked for, without defaults.
func (v Values) read(stdin io.Reader) (values, error) {
	tree := values{}
	for _, name := range v.Files {
		data, err := readFile(name, stdin)
		if err != nil {
			return nil, usage("values: %w", err) // it names the file
		}
		var more values
		if err := yaml.UnmarshalStrict(data, &more); err != nil {
			return nil, usage("values file %s: %w", name, err)
		}
		tree.merge(more)
	}
	for _, s := range v.Set {
		if err := strvals.ParseInto(s, tree); err != nil {
			return nil, usage("--set %s: %w", s, err)
		}
	}
	for _, s := range v.SetString {
		if err := strvals.ParseIntoString(s, tree); err != nil {
			return nil, usage("--set-string %s: %w", s, err)
		}
	}
	return tree.clone(), nil
}

func readFile(name string, stdin io.Reader) ([]byte, error) {
	if name != "-" {
		return os.ReadFile(name)
	}
	if stdin == nil {
		return nil, errors.New("there is no standard input")
	}
	return io.ReadAll(stdin)
}

func usage(format string, args ...any) error {
	return &Problem{What: "the command line does not make sense", Why: fmt.Errorf(format, args...), Code: exitUsage,
		Next: "see --help, and all settings with: ovnkctl install --show-values"}
}

// merge puts another tree over this one.
func (v values) merge(over values) {
	for key, value := range over {
		below, isTree := asValues(v[key])
		above, bothTrees := asValues(value)
		if isTree && bothTrees {
			below.merge(above)
			v[key] = map[string]any(below)
			continue
		}
		v[key] = value
	}
}

func asValues(v any) (values, bool) {
	switch tree := v.(type) {
	case map[string]any:
		return tree, tree != nil
	case values:
		return tree, tree != nil
	}
	return nil, false
}

// clone is a deep copy in the one form that JSON gives every tree, so that trees compare.
func (v values) clone() values {
	data, err := yaml.Marshal(v)
	out := values{}
	if err == nil {
		err = yaml.Unmarshal(data, &out)
	}
	if err != nil { // nothing but YAML gets into a tree
		panic(fmt.Sprintf("install: values are not YAML: %v", err))
	}
	return out
}

func (v values) equal(other values) bool { return reflect.DeepEqual(v.clone(), other.clone()) }

// at is the value at a dotted path.
func (v values) at(path string) (any, bool) {
	head, rest, more := strings.Cut(path, ".")
	value, ok := v[head]
	if !ok || !more {
		return value, ok
	}
	tree, ok := asValues(value)
	if !ok {
		return nil, false
	}
	return tree.at(rest)
}

// set puts a value at a dotted path.
func (v values) set(path string, value any) {
	head, rest, more := strings.Cut(path, ".")
	if !more {
		v[head] = value
		return
	}
	tree, ok := asValues(v[head])
	if !ok {
		tree = values{}
	}
	tree.set(rest, value)
	v[head] = map[string]any(tree)
}

// text is a value as a line.
func text(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	return fmt.Sprint(v)
}

// DefaultValues are all settings with their explanations, as a values file.
func DefaultValues() ([]byte, error) {
	return embedded.Files.ReadFile(embedded.ChartDir + "/values.yaml")
}
