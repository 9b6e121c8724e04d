package install

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/loader/archive"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	releaseutil "helm.sh/helm/v4/pkg/release/v1/util"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	embedded "github.com/ovnkctl/ovnkctl/deploy/helm"
	"github.com/ovnkctl/ovnkctl/internal/config"
)

// Names that are the same in every cluster.
const (
	// Release is the name of the Helm release.
	Release = "ovnk"
	// DefaultNamespace is the namespace that tools and dashboards for OVN-Kubernetes expect.
	DefaultNamespace = "ovn-kubernetes"

	configMapName    = "ovnkctl-config"
	configKey        = "config.yaml"
	controllerName   = "ovnkube-control-plane"
	nodeName         = "ovnkube-node"
	ovsName          = "ovs-node"
	agentContainer   = "ovnkube-controller"
	annotationPrefix = "k8s.ovn.org/"
)

// loadChart is the embedded chart for a version of the program.
func loadChart(version string) (*chart.Chart, error) {
	var files []*archive.BufferedFile
	err := fs.WalkDir(embedded.Files, embedded.ChartDir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := embedded.Files.ReadFile(path)
		files = append(files, &archive.BufferedFile{Name: strings.TrimPrefix(path, embedded.ChartDir+"/"), Data: data})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("embedded chart: %w", err)
	}
	c, err := loader.LoadFiles(files)
	if err != nil {
		return nil, fmt.Errorf("embedded chart: %w", err)
	}
	c.Metadata.AppVersion = version
	return c, nil
}

// rendered is what the chart makes of a set of values.
type rendered struct {
	// objects in the order in which they are applied, as the chart has them.
	objects []*unstructured.Unstructured
	// manifest is all of them as Helm keeps it: a stream that kubectl apply takes. Its parts
	// are those of the objects.
	manifest string
	parts    []string
	notes    string
	config   *config.Config
	// values are those given over those of the chart.
	values values
}

// render makes the objects without a cluster: the chart has no lookups, so that what is
// shown is what is applied.
func render(c *chart.Chart, given values, namespace string) (*rendered, error) {
	all, err := util.ToRenderValuesWithSchemaValidation(c, given.clone(), common.ReleaseOptions{
		Name: Release, Namespace: namespace, Revision: 1, IsInstall: true,
	}, common.DefaultCapabilities, false)
	if err != nil {
		return nil, schemaProblem(err)
	}
	files, err := engine.Render(c, all)
	if err != nil {
		return nil, fmt.Errorf("chart: %w", err)
	}
	r := &rendered{}
	if merged, ok := all["Values"].(common.Values); ok {
		r.values = values(merged)
	}
	for name, text := range files {
		if strings.HasSuffix(name, "NOTES.txt") {
			r.notes = text
			delete(files, name)
		}
	}
	_, manifests, err := releaseutil.SortManifests(files, nil, order())
	if err != nil {
		return nil, fmt.Errorf("chart: %w", err)
	}
	for _, m := range manifests {
		o, err := parseObject(m.Content)
		if err != nil {
			return nil, fmt.Errorf("chart: %s: %w", m.Name, err)
		}
		r.objects = append(r.objects, o)
		r.parts = append(r.parts, "---\n# Source: "+m.Name+"\n"+strings.TrimSpace(m.Content)+"\n")
	}
	r.manifest = strings.Join(r.parts, "")
	r.config, err = r.readConfig()
	return r, err
}

func parseObject(text string) (*unstructured.Unstructured, error) {
	o := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &o.Object); err != nil {
		return nil, err
	}
	if o.GetKind() == "" || o.GetName() == "" {
		return nil, errors.New("an object without kind or name")
	}
	return o, nil
}

// readConfig is the configuration file that the pods will read, checked as they check it.
func (r *rendered) readConfig() (*config.Config, error) {
	c, err := r.parseConfig()
	if err != nil {
		return nil, err
	}
	if err := c.Validate(); err != nil {
		return nil, &Problem{What: "the values do not make a working network", Why: err, Code: exitUsage,
			Next: "change them with --set or --values; the names are the same"}
	}
	return c, nil
}

func (r *rendered) parseConfig() (*config.Config, error) {
	o := r.find("ConfigMap", configMapName)
	if o == nil {
		return nil, fmt.Errorf("chart: no ConfigMap %s", configMapName)
	}
	text, _, _ := unstructured.NestedString(o.Object, "data", configKey)
	c := config.Default()
	if err := yaml.UnmarshalStrict([]byte(text), c); err != nil {
		return nil, fmt.Errorf("chart: %s of ConfigMap %s: %w", configKey, configMapName, err)
	}
	return c, nil
}

func (r *rendered) find(kind, name string) *unstructured.Unstructured {
	for _, o := range r.objects {
		if o.GetKind() == kind && o.GetName() == name {
			return o
		}
	}
	return nil
}

// schemaProblem makes one line of each violation that the schema found.
func schemaProblem(err error) error {
	var lines []string
	for line := range strings.Lines(err.Error()) {
		if said, ok := strings.CutPrefix(strings.TrimSpace(line), "- at "); ok {
			at, what, _ := strings.Cut(said, ": ")
			at = strings.ReplaceAll(strings.Trim(at, "'/"), "/", ".")
			if what == "validation failed" {
				continue // the lines below it say why
			}
			what = strings.Replace(strings.Replace(what, "additional properties", "has no key", 1), " not allowed", "", 1)
			lines = append(lines, strings.TrimPrefix(at+" "+what, " "))
		}
	}
	if len(lines) == 0 {
		return fmt.Errorf("values: %w", err)
	}
	slices.Sort(lines)
	return &Problem{What: "the values are not those of the chart", Why: errors.New(strings.Join(lines, "; ")),
		Code: exitUsage, Next: "see them all with: ovnkctl install --show-values"}
}

// order is Helm's order of kinds, with the policies before the pods that they confine.
func order() releaseutil.KindSortOrder {
	at := slices.Index(releaseutil.InstallOrder, "DaemonSet")
	return slices.Insert(slices.Clone(releaseutil.InstallOrder), at, "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
}
