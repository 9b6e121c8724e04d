package config

import (
	"encoding/json"
	"fmt"
	"strings"

	"sigs.k8s.io/yaml"
)

// sections are the objects of the document and what each is about.
var sections = []struct{ path, about string }{
	{"network", "The cluster's plan of addresses. Lists are comma-separated. No two of these blocks may overlap, and every family of `clusterSubnets` needs a block in each of the others."},
	{"gateway", "How nodes reach the outside."},
	{"policy", "What the APIs of policies leave open."},
	{"datapath", "How Open vSwitch switches packets. `netdev` needs no kernel module but is slower, and hosts need guards against the kernel's own stack, which the node agent sets."},
	{"kubernetes", "How to reach the API server."},
	{"cni", "Where the container runtime looks."},
	{"ovn", "Databases and run directories of the daemons. Databases are reached over local sockets alone."},
	{"serving", "Addresses to listen on."},
	{"log", "The log on standard error. OVS and OVN daemons take the level and have their own format."},
	{"leaderElection", "How controllers agree on a leader. `leaseSeconds` > `renewSeconds` > 1.2 × `retrySeconds`."},
}

// Reference is the reference page of the configuration, in Markdown.
func Reference() (string, error) {
	defaults := Default()
	document, err := yaml.Marshal(defaults)
	if err != nil {
		return "", fmt.Errorf("default configuration: %w", err)
	}
	var b strings.Builder
	b.WriteString(`# Configuration

<!-- Generated from internal/config by ` + "`go generate ./internal/config`" + `. Do not edit. -->

One YAML document configures the programs that run in the cluster: ` + "`ovnkctl controller`, `ovnkctl node` and `ovnkctl run`" + `.
The chart puts it into the ConfigMap ` + "`ovnkctl-config`" + `, and every program reads it with ` + "`--config`" + `.
Each key has a flag of the same name, which overrides it: ` + "`network.clusterSubnets` is `--network.cluster-subnets`" + `.
Unknown keys, wrong types and values that cannot work are refused at start, all in one message, each with the remedy.

The defaults, as a document ([JSON Schema](schema/configuration.json)):

` + "```yaml\n" + string(document) + "```\n")
	for _, s := range sections {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n| key | flag | default | meaning |\n|---|---|---|---|\n", s.path, s.about)
		for _, f := range Fields() {
			if f.Path != s.path && !strings.HasPrefix(f.Path, s.path+".") {
				continue
			}
			value := fmt.Sprint(f.value(defaults).Interface())
			if value != "" {
				value = "`" + value + "`"
			}
			fmt.Fprintf(&b, "| `%s` | `--%s` | %s | %s |\n", f.Path, f.Flag, value, f.text())
		}
	}
	return b.String(), nil
}

// text is the help without the marks that name the value on the command line.
func (f Field) text() string { return strings.ReplaceAll(f.Help, "`", "") }

// Schema is the JSON Schema of the document.
func Schema() ([]byte, error) {
	defaults := Default()
	root := object("Configuration of the programs that run in the cluster")
	properties := root["properties"].(map[string]any)
	properties["apiVersion"] = map[string]any{"const": APIVersion}
	properties["kind"] = map[string]any{"const": Kind}
	for _, s := range sections {
		if s.path != "datapath" {
			properties[s.path] = object(s.about)
		}
	}
	types := map[string]string{"int": "integer", "bool": "boolean", "string": "string"}
	for _, f := range Fields() {
		in, key := properties, f.Path
		if section, leaf, nested := strings.Cut(f.Path, "."); nested {
			in, key = properties[section].(map[string]any)["properties"].(map[string]any), leaf
		}
		in[key] = map[string]any{"type": types[f.Type], "description": f.text(), "default": f.value(defaults).Interface()}
	}
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	text, err := json.MarshalIndent(root, "", "  ")
	return append(text, '\n'), err
}

// object is the schema of an object; absent keys have defaults and null stands for one,
// unknown keys are errors.
func object(about string) map[string]any {
	return map[string]any{
		"type": []string{"object", "null"}, "description": about,
		"properties": map[string]any{}, "additionalProperties": false,
	}
}
