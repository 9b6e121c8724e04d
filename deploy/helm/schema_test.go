package helm

import (
	"bytes"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/ovnkctl/ovnkctl/internal/config"
)

var update = flag.Bool("update", false, "write values.schema.json from values.yaml")

type object = map[string]any

// TestSchemaIsThatOfTheValues makes the schema of values.yaml: names, types, defaults and
// descriptions from there, and what a value may be from the table below. So no key lacks
// an entry in the schema, and none is in the schema alone.
func TestSchemaIsThatOfTheValues(t *testing.T) {
	t.Parallel()
	text, values := readValues(t)
	g := schema{comments: comments(t, text), used: map[string]bool{}}
	root := g.object("", values)
	root["$schema"] = "http://json-schema.org/draft-07/schema#"
	root["title"] = "Values of the ovnk chart"
	for _, p := range slices.Sorted(maps.Keys(constraints)) {
		if !g.used[p] {
			t.Errorf("the table of constraints has %s, which is not in values.yaml", p)
		}
	}
	for _, p := range g.undocumented {
		t.Errorf("values.yaml: %s has no comment that begins with \"# -- \"", p)
	}

	var want bytes.Buffer
	encoder := json.NewEncoder(&want)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(root); err != nil {
		t.Fatal(err)
	}
	const file = "ovnk/values.schema.json"
	if *update {
		if err := os.WriteFile(file, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.String(), string(got)); diff != "" {
		t.Errorf("values.schema.json is not current; run: go test ./deploy/helm -update\n%s", diff)
	}
}

// TestValuesNameTheConfiguration: a section of the values becomes the section of the same
// name in the configuration, so each key must exist there, and each key there must be a
// value, but for those that the chart itself decides.
func TestValuesNameTheConfiguration(t *testing.T) {
	t.Parallel()
	_, values := readValues(t)
	// The paths are mounts of the pods, and a pod has its ServiceAccount.
	fixed := []string{"kubernetes.kubeconfig", "kubernetes.stateDir", "cni.socket", "ovn.nb", "ovn.sb", "ovn.ovs", "ovn.runDir",
		"ovn.nbDatabase", "ovn.sbDatabase", "ovn.ovsDatabase"}
	known := map[string]bool{}
	sections := map[string]bool{}
	for _, f := range config.Fields() {
		known[f.Path] = true
		section, _, _ := strings.Cut(f.Path, ".")
		sections[section] = true
		_, isValue := lookup(values, f.Path)
		if isValue == slices.Contains(fixed, f.Path) {
			t.Errorf("configuration key %s: is a value: %v, is decided by the chart: %v", f.Path, isValue, !isValue)
		}
	}
	for name := range sections {
		section, ok := values[name].(object)
		if !ok {
			continue
		}
		for key := range section {
			if !known[name+"."+key] {
				t.Errorf("value %s.%s is no key of the configuration", name, key)
			}
		}
	}
}

func readValues(t *testing.T) (string, object) {
	t.Helper()
	data, err := Files.ReadFile(path.Join(ChartDir, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var values object
	if err := yaml.UnmarshalStrict(data, &values); err != nil {
		t.Fatal(err)
	}
	return string(data), values
}

func lookup(values object, dotted string) (any, bool) {
	head, rest, nested := strings.Cut(dotted, ".")
	v, ok := values[head]
	if !nested || !ok {
		return v, ok
	}
	inner, ok := v.(object)
	if !ok {
		return nil, false
	}
	return lookup(inner, rest)
}

// comments finds the line above each key, by the key's path.
func comments(t *testing.T, text string) map[string]string {
	t.Helper()
	found := map[string]string{}
	var at []string
	comment := ""
	for line := range strings.Lines(text) {
		trimmed := strings.TrimSpace(line)
		depth := (len(line) - len(strings.TrimLeft(line, " "))) / 2
		if said, ok := strings.CutPrefix(trimmed, "# -- "); ok {
			comment = said
			continue
		}
		key, _, isKey := strings.Cut(trimmed, ":")
		if !isKey || strings.HasPrefix(trimmed, "#") || strings.HasPrefix(trimmed, "- ") {
			continue
		}
		at = append(at[:min(depth, len(at))], key)
		if comment != "" {
			found[strings.Join(at, ".")] = comment
		}
		comment = ""
	}
	return found
}

type schema struct {
	comments     map[string]string
	used         map[string]bool
	undocumented []string
}

// object is the schema of an object whose keys are known.
func (g *schema) object(at string, values object) object {
	properties := object{}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		p := strings.TrimPrefix(at+"."+key, ".")
		properties[key] = g.property(p, values[key])
	}
	return object{"type": "object", "additionalProperties": false, "properties": properties}
}

func (g *schema) property(at string, value any) object {
	inner, nested := value.(object)
	_, said := constraints[at]
	if nested && !said && !open(at) {
		return g.object(at, inner)
	}
	made := object{}
	switch value.(type) {
	case string:
		made["type"] = "string"
	case bool:
		made["type"] = "boolean"
	case float64, int64:
		made["type"] = "integer"
	case []any:
		made["type"], made["items"] = "array", object{"type": "object"}
	case object:
		made["type"] = "object"
	}
	if strings.HasSuffix(at, "Annotations") || strings.HasSuffix(at, "abels") || strings.HasSuffix(at, "nodeSelector") {
		made["additionalProperties"] = object{"type": "string"}
	}
	maps.Copy(made, constraints[at])
	g.used[at] = true
	if made["description"] = g.comments[at]; g.comments[at] == "" {
		g.undocumented = append(g.undocumented, at)
	}
	made["default"] = value
	return made
}

// open are the objects whose shape is Kubernetes' or the user's.
func open(at string) bool {
	leaf := at[strings.LastIndexByte(at, '.')+1:]
	return slices.Contains([]string{"nodeSelector", "affinity", "podAnnotations", "podLabels", "labels", "updateStrategy", "resources"}, leaf)
}

func oneOf(values ...any) object     { return object{"enum": values} }
func between(least, most int) object { return object{"minimum": least, "maximum": most} }
func match(pattern string) object    { return object{"pattern": pattern} }

func requirements(containers ...string) object {
	one := object{
		"type":                 "object",
		"additionalProperties": false,
		"properties": object{
			"requests": object{"type": "object"},
			"limits":   object{"type": "object"},
			"claims":   object{"type": "array", "items": object{"type": "object"}},
		},
	}
	if len(containers) == 0 {
		return one
	}
	properties := object{}
	for _, c := range containers {
		properties[c] = one
	}
	return object{"additionalProperties": false, "properties": properties}
}

const (
	cidrs        = `^[0-9a-fA-F:./]+(,[0-9a-fA-F:./]+)*$`
	maybeAddress = `^([0-9a-fA-F:.]+(,[0-9a-fA-F:.]+)*)?$`
	absolute     = `^/[^ ]*[^ /]$`
	listen       = `^(\[[0-9a-fA-F:.]+\]|[^:\[\] ]*):[0-9]{1,5}$`
	maybeLoop    = `^((localhost|127\.[0-9.]+|\[::1\]):[0-9]{1,5})?$`
	digest       = `^(sha256:[0-9a-f]{64})?$`
	device       = `^[^ /]{1,15}$`
)

// constraints are what values may be, beyond their type. They catch what is certainly
// wrong before anything is applied; `ovnkctl` checks the rest as it checks its
// configuration file.
var constraints = map[string]object{
	"image.repository":            {"minLength": 1},
	"image.digest":                match(digest),
	"image.pullPolicy":            oneOf("Always", "IfNotPresent", "Never"),
	"ovs.image.digest":            match(digest),
	"datapath":                    oneOf("system", "netdev"),
	"network.clusterSubnets":      match(cidrs),
	"network.serviceSubnets":      match(cidrs),
	"network.joinSubnets":         match(cidrs),
	"network.transitSubnets":      match(cidrs),
	"network.masqueradeSubnets":   match(cidrs),
	"network.mtu":                 between(0, config.MaxMTU),
	"network.encapPort":           between(1, 65535),
	"network.encapIP":             match(maybeAddress),
	"gateway.mode":                oneOf("shared", "local"),
	"gateway.interface":           match(`^[^ /]{0,15}$`),
	"gateway.bridge":              match(device),
	"gateway.nextHops":            match(maybeAddress),
	"gateway.vlan":                between(0, 4094),
	"policy.aclLoggingRateLimit":  between(1, config.MaxLoggingRate),
	"policy.dnsService":           match(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?/[a-z0-9]([-a-z0-9]*[a-z0-9])?$`),
	"policy.dnsProxyPort":         between(1, 65535),
	"kubernetes.apiServer":        match(`^(https?://[^ /]+)?$`),
	"kubernetes.bootstrapServers": match(`^(https://[^ ,/]+(,https://[^ ,/]+)*)?$`),
	"cni.confDir":                 match(absolute),
	"cni.binDir":                  match(absolute),
	"cni.cniVersion":              oneOf("0.4.0", "1.0.0", "1.1.0"),
	"ovn.handlerThreads":          {"minimum": 0},
	"ovn.revalidatorThreads":      {"minimum": 0},
	"serving.controllerMetrics":   match(listen),
	"serving.nodeMetrics":         match(listen),
	"serving.pprof":               match(maybeLoop),
	"log.level":                   oneOf("debug", "info", "warn", "error"),
	"log.format":                  oneOf("json", "text"),
	"leaderElection.leaseSeconds": {"minimum": 1},
	"leaderElection.renewSeconds": {"minimum": 1},
	"leaderElection.retrySeconds": {"minimum": 1},
	"controller.replicas":         {"minimum": 1},
	"controller.resources":        requirements(),
	"node.resources":              requirements("nb-ovsdb", "sb-ovsdb", "ovn-northd", "ovn-controller", "ovnkube-controller"),
	"ovs.resources":               requirements("ovsdb-server", "ovs-daemons"),
	"metrics.podMonitor.interval": match(`^[0-9]+(ms|s|m|h)$`),
}
