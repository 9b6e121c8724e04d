package whatif

import (
	"fmt"
	"io"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/ovnkctl/ovnkctl/internal/explain"
	"github.com/ovnkctl/ovnkctl/internal/inspect"
)

// Input is what is thought to be different, not yet compared with a cluster.
type Input struct {
	documents []document
	without   []string
	namespace string
}

// Read reads manifests (files, folders, "-" for standard input) and names of objects to be
// without. Names without namespace are of the given one.
func Read(with, without []string, namespace string, stdin io.Reader) (*Input, error) {
	docs, err := readManifests(with, stdin)
	if err != nil {
		return nil, err
	}
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	for _, ref := range without { // what cannot be read is told before a cluster is asked
		if _, _, err := parseRef(ref, namespace); err != nil {
			return nil, err
		}
	}
	return &Input{documents: docs, without: without, namespace: namespace}, nil
}

// The things that are thought to happen to an object.
const (
	Added    = "added"
	Replaced = "replaced"
	Removed  = "removed"
	// Unchanged is an object of a file that is there already, and asks for the same.
	Unchanged = "unchanged"
)

// Edit is an object that is thought to be different.
type Edit struct {
	Object explain.Object `json:"object"`
	Action string         `json:"action"` // added, replaced, removed or unchanged
	// From is the file and document, or the flag.
	From string `json:"from"`
}

// overlay is the objects of a cluster as they would be.
type overlay struct {
	objects   inspect.Objects
	namespace string
	now       time.Time
	// ranges are where cluster IPs come from.
	ranges []string
	edits  []Edit
	// notes are what was chosen in place of the API server and its controllers; warnings what
	// would be refused, or do nothing.
	notes, warnings []string
}

// over lays the input over the objects of a cluster, which are not changed.
func (i *Input) over(objects *inspect.Objects, ranges []string, now time.Time) (*overlay, error) {
	o := &overlay{objects: *objects, namespace: i.namespace, now: now, ranges: ranges}
	// Namespaces and pods come first, so that the order in a file is nothing.
	docs := slices.Clone(i.documents)
	slices.SortStableFunc(docs, func(a, b document) int { return rank(a.kind) - rank(b.kind) })
	for _, ref := range i.without {
		k, obj, err := parseRef(ref, i.namespace)
		if err != nil {
			return nil, err
		}
		if !k.remove(&o.objects, obj.Namespace, obj.Name) {
			return nil, &InputError{Where: "--without=" + ref, Why: fmt.Sprintf("there is no %s", obj), Next: "look for its name with 'kubectl get " + k.name + " -A'"}
		}
		o.note(obj, Removed, "--without")
	}
	for _, d := range docs {
		if err := d.kind.put(o, d); err != nil {
			return nil, err
		}
	}
	o.checkNamespaces()
	o.endpoints(objects)
	return o, nil
}

func rank(k *kind) int {
	switch k.name {
	case "Namespace":
		return 0
	case "Pod":
		return 1
	case "EndpointSlice":
		return 3
	}
	return 2
}

func (o *overlay) note(obj explain.Object, action, from string) {
	for i := range o.edits {
		if o.edits[i].Object == obj {
			if o.edits[i].Action == Removed { // and given by a file
				action = Replaced
			}
			o.edits[i] = Edit{obj, action, from}
			return
		}
	}
	o.edits = append(o.edits, Edit{obj, action, from})
}

func (o *overlay) edited(kind string) []Edit {
	return slices.DeleteFunc(slices.Clone(o.edits), func(e Edit) bool { return e.Object.Kind != kind })
}

func objectOf(k *kind, namespace, name string) explain.Object {
	return explain.Object{Kind: k.name, Namespace: namespace, Name: name}
}

// named checks the name of an object, and gives it a namespace.
func (o *overlay) named(d document, k *kind, obj metav1.Object) error {
	if obj.GetName() == "" {
		why := "it has no metadata.name"
		if obj.GetGenerateName() != "" {
			why = "it has a generateName alone: the name is not known before it is applied"
		}
		return &InputError{Where: d.from, Why: why, Next: "give it a name"}
	}
	check := validation.IsDNS1123Subdomain
	if k.name == "Service" || k.name == "Namespace" {
		check = validation.IsDNS1123Label
	}
	if problems := check(obj.GetName()); len(problems) > 0 {
		return &InputError{Where: d.from, Why: fmt.Sprintf("%q is not a name: %s", obj.GetName(), problems[0]), Next: "rename it"}
	}
	switch {
	case !k.namespaced:
		obj.SetNamespace("")
	case obj.GetNamespace() == "":
		obj.SetNamespace(o.namespace)
	}
	return nil
}

// checkNamespaces warns of objects whose namespace is not there: the API server would refuse
// them.
func (o *overlay) checkNamespaces() {
	for _, e := range o.edits {
		ns := e.Object.Namespace
		if ns == "" || e.Action == Removed || slices.ContainsFunc(o.objects.Namespaces, func(n corev1.Namespace) bool { return n.Name == ns }) {
			continue
		}
		o.warnings = append(o.warnings, fmt.Sprintf("%s: there is no namespace %s, in which it could be", e.Object, ns))
	}
}
