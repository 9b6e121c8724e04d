package cli

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

func TestInstallDryRunIsPureYAML(t *testing.T) {
	t.Parallel()
	code, out, errOut := run(t, "ovnkctl", "install", "--dry-run=client", "--set", "gateway.mode=local", "-n", "elsewhere")
	if code != ExitOK || errOut != "" {
		t.Fatalf("code %d: %s", code, errOut)
	}
	var kinds []string
	for _, document := range strings.Split(strings.TrimPrefix(out, "---\n"), "\n---\n") {
		var o struct {
			Kind     string
			Metadata struct{ Name, Namespace string }
		}
		if err := yaml.Unmarshal([]byte(document), &o); err != nil || o.Kind == "" || o.Metadata.Name == "" {
			t.Fatalf("%v in\n%s", err, document)
		}
		if ns := o.Metadata.Namespace; ns != "" && ns != "elsewhere" {
			t.Errorf("%s %s is in namespace %s", o.Kind, o.Metadata.Name, ns)
		}
		kinds = append(kinds, o.Kind)
	}
	if kinds[0] != "Namespace" || !strings.Contains(out, "mode: local") || !strings.Contains(out, "system:serviceaccount:elsewhere:ovnkube-node") {
		t.Errorf("kinds %v", kinds)
	}
}

func TestInstallShowsValues(t *testing.T) {
	t.Parallel()
	code, out, _ := run(t, "ovnkctl", "install", "--show-values")
	var values map[string]any
	if err := yaml.UnmarshalStrict([]byte(out), &values); code != ExitOK || err != nil || values["network"] == nil || !strings.Contains(out, "# -- ") {
		t.Errorf("code %d, %v", code, err)
	}
}

func TestOperateCommandsExplainMistakes(t *testing.T) {
	t.Parallel()
	nowhere := "--server=https://127.0.0.1:1"
	missing := filepath.Join(t.TempDir(), "absent.yaml")
	for _, test := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"install", "--dry-run=x"}, ExitUsage, "--dry-run=x: it is server or client"},
		{[]string{"install", "--dry-run", "--diff"}, ExitUsage, "exclude each other"},
		{[]string{"install", "-o", "table"}, ExitUsage, "it is json or yaml"},
		{[]string{"install", "--dry-run=client", "--set", "log.level=loud"}, ExitUsage, "log.level value must be one of"},
		{[]string{"install", "--dry-run=client", "--set", "logs.level=info"}, ExitUsage, "has no key 'logs'"},
		{[]string{"install", "--dry-run=client", "--set", "network.mtu=100"}, ExitUsage, "network.mtu"},
		{[]string{"install", "-f", missing, nowhere}, ExitUsage, "no such file"},
		{[]string{"install", nowhere}, ExitFailed, "the API server does not answer"},
		{[]string{"upgrade", nowhere}, ExitFailed, "the API server does not answer"},
		{[]string{"upgrade", "--dry-run=client"}, ExitUsage, "needs to see what is installed"},
		{[]string{"upgrade", "--rollback-on-failure"}, ExitUsage, "needs --wait"},
		{[]string{"upgrade", "--rollback=x"}, ExitUsage, "the number of a revision"},
		{[]string{"uninstall", nowhere}, ExitUsage, "pass --yes"},
		{[]string{"uninstall", "--yes", nowhere}, ExitFailed, "the API server does not answer"},
	} {
		t.Run(strings.Join(test.args, " "), func(t *testing.T) {
			t.Parallel()
			code, out, errOut := run(t, append([]string{"ovnkctl"}, test.args...)...)
			if code != test.code || out != "" || !strings.Contains(errOut, test.says) {
				t.Errorf("code %d, want %d\nstdout %q\nstderr %s", code, test.code, out, errOut)
			}
			if !strings.Contains(errOut, "→ ") {
				t.Errorf("nothing to do next: %s", errOut)
			}
		})
	}
}

func TestResultsAsDocuments(t *testing.T) {
	t.Parallel()
	code, out, _ := run(t, "ovnkctl", "uninstall", "--dry-run", "-o", "json", "--server=https://127.0.0.1:1")
	if code != ExitFailed || out != "" {
		t.Errorf("a failure wrote a document: code %d, %s", code, out)
	}
	if data, err := marshalJSON(map[string]int{"a": 1}); err != nil || !json.Valid(data) {
		t.Errorf("%s, %v", data, err)
	}
}
