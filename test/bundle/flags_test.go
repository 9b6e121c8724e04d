package bundle

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/ovnkctl/ovnkctl/internal/cli"
)

// effect is a command line on the recorded cluster, and what is added to it to see what a flag
// does: the answer has to be another one.
type effect struct{ line, added string }

const (
	onRecord  = " --from shop.tar.gz"
	cartToWeb = "trace shop/cart-0 svc/shop/web:80" + onRecord
	shopReach = "reach ns/shop to ns/shop --evaluate" + onRecord
)

// common are the flags of all commands that read, on a line of each.
func common(command, line, namespace, ofProgram string) map[string]effect {
	return map[string]effect{
		command + " --color":      {line, "--color always-and-never"},
		command + " --context":    {command + " " + firstWords(line) + ofProgram, "--context nowhere"},
		command + " --kubeconfig": {command + " " + firstWords(line), "--kubeconfig /nonexistent"},
		command + " --no-headers": {line, "--no-headers"},
		command + " --output":     {line, "-o json"},
		command + " --timeout":    {line, "--timeout 0s"},
		command + " --from":       {command + " " + firstWords(line) + ofProgram, "--from shop.tar.gz"},
		command + " --namespace":  {namespace, "-n shop"},
	}
}

// firstWords are the arguments of a line, without its command and flags.
func firstWords(line string) string {
	var out []string
	for _, w := range strings.Fields(line)[1:] {
		if strings.HasPrefix(w, "-") {
			break
		}
		out = append(out, w)
	}
	return strings.Join(out, " ")
}

// effects are what flags do, by command and flag.
func effects(dir, ofProgram string) map[string]effect {
	deny := filepath.Join(dir, "deny.yaml")
	out := map[string]effect{
		"diagnose --fail-on":           {"diagnose" + onRecord, "--fail-on nothing"},
		"diagnose --list":              {"diagnose" + onRecord, "--list"},
		"diagnose --watch":             {"diagnose" + onRecord, "--watch"},
		"diagnose --repair":            {"diagnose" + onRecord, "--repair"}, // that it repairs is seen in the sandbox
		"diagnose --yes":               {"diagnose" + onRecord, "--yes"},
		"diagnose --interval":          {"diagnose" + onRecord, "--interval 5s"},
		"diagnose --network-namespace": {"diagnose" + ofProgram, "--network-namespace nowhere"},
		"explain --flows":              {"explain netpol/shop/db-from-cart" + onRecord, "--flows"},
		"explain --node":               {"explain svc/shop/web" + onRecord, "--node node2"},
		"explain --network-namespace":  {"explain x" + ofProgram, "--network-namespace nowhere"},
		"logs --follow":                {"logs" + onRecord, "--follow"},
		"logs --grep":                  {"logs" + onRecord, "--grep cart-0"},
		"logs --level":                 {"logs" + onRecord, "--level error"},
		"logs --since":                 {"logs" + onRecord, "--since 1s"},
		"logs --tail":                  {"logs" + onRecord, "--tail 3"},
		"reach --each":                 {shopReach, "--each"},
		"reach --evaluate":             {"reach shop/web-0 to shop/db-0" + onRecord, "--evaluate"},
		"reach --expect":               {shopReach, "--expect " + filepath.Join(dir, "expected.csv")},
		"reach --family":               {"reach pod/shop/web-0 to pod/shop/db-0 -o json" + onRecord, "--family 6"},
		"reach --port":                 {shopReach, "--port tcp/9"},
		"reach --with":                 {shopReach, "--with " + deny},
		"reach --without":              {shopReach, "--without networkpolicy/shop/db-from-cart"},
		"reach --network-namespace":    {"reach" + ofProgram, "--network-namespace nowhere"},
		"status --findings":            {"status" + onRecord, "--findings=false"},
		"status --wait":                {"status" + onRecord, "--wait=1s"},
		"trace --all-backends":         {cartToWeb, "--all-backends"},
		"trace --backend":              {cartToWeb, "--backend 192.0.2.1"},
		"trace --expect":               {cartToWeb, "--expect dropped"},
		"trace --family":               {"trace shop/cart-0 shop/web-0:8080" + onRecord, "--family 6"},
		"trace --for":                  {cartToWeb, "--for 1s"},
		"trace --interval":             {cartToWeb, "--interval 1s"},
		"trace --physical":             {cartToWeb, "--physical"},
		"trace --port":                 {"trace shop/cart-0 shop/db-0" + onRecord, "--port 5432"},
		"trace --protocol":             {"trace shop/cart-0 shop/db-0:53" + onRecord, "--protocol udp"},
		"trace --reply":                {"trace shop/cart-0 shop/db-0:5432" + onRecord, "--reply"},
		"trace --source-port":          {"trace shop/cart-0 shop/db-0:5432" + onRecord, "--source-port 1234"},
		"trace --via":                  {"trace 203.0.113.1 172.30.250.11:30080" + onRecord, "--via nowhere"},
		"trace --watch":                {cartToWeb, "--watch"},
		"trace --with":                 {"trace shop/cart-0 shop/db-0:5432" + onRecord, "--with " + deny},
		"trace --without":              {"trace shop/web-0 shop/db-0:5432" + onRecord, "--without networkpolicy/shop/db-from-cart"},
		"trace --network-namespace":    {"trace shop/a shop/b" + ofProgram, "--network-namespace nowhere"},
		"version --client":             {"version" + onRecord, "--client"},
		"install --dry-run":            {"install" + ofProgram, "--dry-run=client"},
		"install --set":                {"install --dry-run=client", "--set log.level=debug"},
		"install --set-string":         {"install --dry-run=client", "--set-string log.level=debug"},
		"install --values":             {"install --dry-run=client", "--values " + filepath.Join(dir, "values.yaml")},
		"install --namespace":          {"install --dry-run=client", "-n elsewhere"},
		"install --diff":               {"install --dry-run=client", "--diff"},
		"install --output":             {"install" + ofProgram, "-o json"},
	}
	for command, lines := range map[string][2]string{
		"diagnose": {"diagnose --list", "diagnose pod/db-0" + onRecord},
		"explain":  {"explain shop/cart-0" + onRecord, "explain db-0" + onRecord},
		"logs":     {"logs --tail 1" + onRecord, "logs" + ofProgram},
		"reach":    {shopReach, "reach pod/web-0 to pod/db-0 --evaluate" + onRecord},
		"status":   {"status" + onRecord, "status" + ofProgram},
		"trace":    {cartToWeb, "trace cart-0 svc/web:80" + onRecord},
		"version":  {"version" + onRecord, "version" + ofProgram},
	} {
		for flag, e := range common(command, lines[0], lines[1], ofProgram) {
			if _, there := out[flag]; !there {
				out[flag] = e
			}
		}
	}
	out["diagnose --timeout"] = effect{"diagnose" + onRecord, "--timeout 0s"}
	for _, command := range []string{"install", "upgrade", "uninstall", "collect"} {
		out[command+" --context"] = effect{command + ofProgram, "--context nowhere"}
		out[command+" --kubeconfig"] = effect{command, "--kubeconfig /nonexistent"}
	}
	for _, flag := range []string{"uninstall --context", "uninstall --kubeconfig"} { // it asks first
		out[flag] = effect{out[flag].line + " --yes", out[flag].added}
	}
	return out
}

// elsewhere are flags that a record cannot show, and where they are tried.
var elsewhere = map[string]string{
	"logs --previous":      "internal/logs: nothing was started again in the record",
	"explain --no-headers": "internal/output: it has no tables", "logs --no-headers": "as explain", "trace --no-headers": "as explain",
	"diagnose --no-headers": "as explain", "reach --no-headers": "as explain", "status --no-headers": "as explain", "version --no-headers": "as explain",
}

// inCluster are commands that change a cluster or read it whole: their flags are tried on a real
// API server (internal/install, with -tags kube), in memory (internal/cli, internal/collect) and
// in the sandbox.
var inCluster = []string{"install", "upgrade", "uninstall", "collect"}

func say(t *testing.T, line string) string {
	t.Helper()
	var out bytes.Buffer
	code := cli.Main(append([]string{"ovnkctl"}, strings.Fields(line)...), strings.NewReader(""), &out, &out)
	return fmt.Sprintf("%sexit code %d", &out, code)
}

// TestFlags: there is no flag that does nothing.
func TestFlags(t *testing.T) {
	withOVN(t)
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	dir := t.TempDir()
	for name, text := range map[string]string{
		"deny.yaml":    "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: deny, namespace: shop}\nspec: {podSelector: {}, policyTypes: [Ingress, Egress]}\n",
		"values.yaml":  "log: {level: debug}\n",
		"expected.csv": "source,destination,port,verdict\nns/shop,ns/shop,tcp/1,allowed\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	kubectls := pflag.NewFlagSet("", pflag.ContinueOnError)
	genericclioptions.NewConfigFlags(true).AddFlags(kubectls)
	daily := []string{"namespace", "context", "kubeconfig"}
	refuses := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403,"message":"not to be seen: %s"}`, r.URL.Path)
	}))
	defer refuses.Close()
	table, said := effects(dir, " -s "+refuses.URL), map[string]string{}
	for _, cmd := range cli.NewRoot("kubectl-ovnk", genericiooptions.IOStreams{}).Commands() {
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			key := cmd.Name() + " --" + f.Name
			if f.Name == "help" || kubectls.Lookup(f.Name) != nil && !slices.Contains(daily, f.Name) || !cmd.IsAvailableCommand() || cmd.Name() == "completion" {
				return
			}
			e, ok := table[key]
			switch {
			case elsewhere[key] != "":
				return
			case !ok && slices.Contains(inCluster, cmd.Name()):
				return
			case !ok:
				t.Errorf("%s: what does it do? Nobody tries it", key)
				return
			}
			if said[e.line] == "" {
				said[e.line] = say(t, e.line)
			}
			if with := say(t, e.line+" "+e.added); with == said[e.line] {
				t.Errorf("%s: %q answers the same with %s:\n%s", key, e.line, e.added, with)
			}
		})
	}
}
