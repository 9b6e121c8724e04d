package install

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"
)

// Action is what happens to an object.
type Action string

// The actions.
const (
	Create Action = "create"
	Modify Action = "change"
	Remove Action = "remove"
)

// Change is what an operation does, or would do, to one object.
type Change struct {
	Action    Action `json:"action"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	// Diff is the difference of the object's fields in unified format, for a change.
	Diff string `json:"diff,omitempty"`
}

// Object is the object's name for people.
func (c Change) Object() string {
	if c.Namespace == "" {
		return c.Kind + " " + c.Name
	}
	return c.Kind + " " + c.Namespace + "/" + c.Name
}

// fieldManager is who owns the fields that are applied. It is Helm's own, so that the
// release can be handled with helm too.
const fieldManager = "helm"

// own puts on an object what Helm puts on objects of a release.
func own(o *unstructured.Unstructured, namespace string) *unstructured.Unstructured {
	o = o.DeepCopy()
	labels, annotations := o.GetLabels(), o.GetAnnotations()
	if labels == nil {
		labels = map[string]string{}
	}
	if annotations == nil {
		annotations = map[string]string{}
	}
	labels["app.kubernetes.io/managed-by"] = "Helm"
	annotations["meta.helm.sh/release-name"] = Release
	annotations["meta.helm.sh/release-namespace"] = namespace
	o.SetLabels(labels)
	o.SetAnnotations(annotations)
	return o
}

// plan compares the objects of a release with the cluster. The API server itself says
// what would become of each (a dry run of server-side apply), so that its defaults and
// the fields of others are no differences, and what somebody changed by hand is one.
func (op *operation) plan(ctx context.Context, next, previous []*unstructured.Unstructured) ([]Change, error) {
	var changes []Change
	for _, o := range next {
		change, err := op.compare(ctx, own(o, op.Namespace))
		if err != nil {
			return nil, err
		}
		if change != nil {
			changes = append(changes, *change)
		}
	}
	for _, o := range leftOut(next, previous) {
		live, err := op.cluster.get(ctx, o)
		if err != nil {
			return nil, err
		}
		if live != nil && isOurs(live, op.Namespace) {
			changes = append(changes, changeOf(Remove, o))
		}
	}
	return changes, nil
}

// leftOut are the objects of a revision that the next one does not have, but for those
// that are to be kept.
func leftOut(next, previous []*unstructured.Unstructured) []*unstructured.Unstructured {
	kept := map[string]bool{}
	for _, o := range next {
		kept[key(o)] = true
	}
	return slices.DeleteFunc(slices.Clone(previous), func(o *unstructured.Unstructured) bool {
		return kept[key(o)] || isKept(o)
	})
}

// compare is the change of one object, nil if there is none. An object of something else
// is not touched unless that was asked for.
func (op *operation) compare(ctx context.Context, o *unstructured.Unstructured) (*Change, error) {
	live, err := op.cluster.get(ctx, o)
	if err != nil {
		return nil, err
	}
	change := changeOf(Modify, o)
	if live == nil {
		change.Action = Create
		return &change, nil
	}
	if !isOurs(live, op.Namespace) && !op.TakeOwnership {
		return nil, &Problem{What: change.Object() + " exists and belongs to something else",
			Next: "remove it with what created it, or take it over with --take-ownership"}
	}
	after, err := op.cluster.apply(ctx, o, metav1.DryRunAll)
	if apierrors.IsInvalid(err) {
		return nil, &Problem{What: "the API server refuses " + change.Object(), Why: err,
			Next: "if a field that cannot be changed was set: `ovnkctl uninstall` and install again"}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", change.Object(), err)
	}
	if change.Diff = unified(essence(live), essence(after)); change.Diff == "" {
		return nil, nil
	}
	return &change, nil
}

// get is the object as it is in the cluster, nil if it is not there.
func (c *cluster) get(ctx context.Context, o *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	client, err := c.client(o)
	if err != nil {
		return nil, err
	}
	live, err := client.Get(ctx, o.GetName(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", changeOf(Modify, o).Object(), err)
	}
	return live, nil
}

// apply sends an object. Fields that others changed by hand are taken back: the plan has
// shown them.
func (c *cluster) apply(ctx context.Context, o *unstructured.Unstructured, dryRun ...string) (*unstructured.Unstructured, error) {
	client, err := c.client(o)
	if err != nil {
		return nil, err
	}
	return client.Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: fieldManager, Force: true, DryRun: dryRun})
}

// client is the API of an object's kind and namespace.
func (c *cluster) client(o *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	gvk := o.GroupVersionKind()
	mapping, err := c.mapper.RESTMapping(schema.GroupKind{Group: gvk.Group, Kind: gvk.Kind}, gvk.Version)
	if meta.IsNoMatchError(err) {
		return nil, &Problem{What: fmt.Sprintf("the cluster does not know the kind %s of %s", gvk.Kind, gvk.GroupVersion()),
			Next: "install what brings its definition, or leave it out (PodMonitors: --set metrics.podMonitor.enabled=false)"}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", changeOf(Create, o).Object(), err)
	}
	if mapping.Scope.Name() == meta.RESTScopeNameRoot {
		return c.dynamic.Resource(mapping.Resource), nil
	}
	return c.dynamic.Resource(mapping.Resource).Namespace(o.GetNamespace()), nil
}

func changeOf(action Action, o *unstructured.Unstructured) Change {
	return Change{Action: action, Kind: o.GetKind(), Namespace: o.GetNamespace(), Name: o.GetName()}
}

func key(o *unstructured.Unstructured) string {
	return strings.Join([]string{o.GroupVersionKind().Group, o.GetKind(), o.GetNamespace(), o.GetName()}, "/")
}

// essence is an object without what the API server keeps book of.
func essence(o *unstructured.Unstructured) string {
	o = o.DeepCopy()
	for _, field := range []string{"managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink"} {
		unstructured.RemoveNestedField(o.Object, "metadata", field)
	}
	unstructured.RemoveNestedField(o.Object, "status")
	for _, counter := range []string{"deprecated.daemonset.template.generation", "deployment.kubernetes.io/revision"} {
		unstructured.RemoveNestedField(o.Object, "metadata", "annotations", counter)
	}
	text, err := yaml.Marshal(o.Object)
	if err != nil { // it came from the API server as JSON
		panic(fmt.Sprintf("install: %s: %v", o.GetName(), err))
	}
	return string(text)
}

// WriteChanges shows changes to people: a line for each object, and below it its diff.
func WriteChanges(w io.Writer, changes []Change) {
	mark := map[Action]string{Create: "+", Modify: "~", Remove: "-"}
	for _, c := range changes {
		fmt.Fprintf(w, "%s %s\n", mark[c.Action], c.Object())
		for line := range strings.Lines(c.Diff) {
			fmt.Fprint(w, "    "+line)
		}
	}
}
