package whatif

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/network-policy-api/apis/v1alpha1"
	"sigs.k8s.io/network-policy-api/apis/v1alpha2"

	egressfirewallv1 "github.com/ovnkctl/ovnkctl/api/egressfirewall/v1"
	"github.com/ovnkctl/ovnkctl/internal/inspect"
)

// kind is a kind of objects that can be thought to be there.
type kind struct {
	group, version, name string
	short                []string // as kubectl has them
	namespaced           bool
	// put decodes an object and puts it among those of its kind.
	put func(o *overlay, d document) error
	// remove takes an object away; false if there is none.
	remove func(o *inspect.Objects, namespace, name string) bool
}

// object is a pointer to an API type.
type object[T any] interface {
	*T
	metav1.Object
}

// newKind describes a kind. prepare gives an object what the API server would give it: old is
// what is there now, or nil.
func newKind[T any, P object[T]](k kind, list func(*inspect.Objects) *[]T, prepare func(o *overlay, obj, old P) error) *kind {
	find := func(objects []T, namespace, name string) int {
		return slices.IndexFunc(objects, func(t T) bool { return P(&t).GetNamespace() == namespace && P(&t).GetName() == name })
	}
	k.put = func(o *overlay, d document) error {
		obj := P(new(T))
		strict, err := kjson.UnmarshalStrict(d.text, obj) // as the API server reads it
		if err = errors.Join(append(strict, err)...); err != nil {
			return &InputError{
				Where: d.from, Why: k.name + ": " + strings.ReplaceAll(err.Error(), "\n", "; "),
				Next: "mend the field; 'kubectl explain " + strings.ToLower(k.name) + "' lists those that there are",
			}
		}
		if err := o.named(d, &k, obj); err != nil {
			return err
		}
		objects := list(&o.objects)
		at := find(*objects, obj.GetNamespace(), obj.GetName())
		var old P
		action := Added
		if at >= 0 {
			old, action = &(*objects)[at], Replaced
			obj.SetUID(old.GetUID())
			obj.SetCreationTimestamp(old.GetCreationTimestamp())
		} else {
			obj.SetCreationTimestamp(metav1.NewTime(o.now))
		}
		if err := prepare(o, obj, old); err != nil {
			return &InputError{Where: d.from, Why: fmt.Sprintf("%s %s: %v", k.name, obj.GetName(), err)}
		}
		if old != nil && asks(obj) == asks(old) {
			action = Unchanged
		}
		if at < 0 {
			*objects = append(slices.Clip(*objects), *obj)
		} else {
			*objects = slices.Clone(*objects) // others read the old one
			(*objects)[at] = *obj
		}
		o.note(objectOf(&k, obj.GetNamespace(), obj.GetName()), action, d.from)
		return nil
	}
	k.remove = func(o *inspect.Objects, namespace, name string) bool {
		objects := list(o)
		at := find(*objects, namespace, name)
		if at >= 0 {
			*objects = slices.Delete(slices.Clone(*objects), at, at+1)
		}
		return at >= 0
	}
	return &k
}

// asks is what an object asks for, as text: all of it but its status and history.
func asks(obj metav1.Object) string {
	var m map[string]any
	data, err := json.Marshal(obj)
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	if err != nil {
		return err.Error()
	}
	labels, annotations := map[string]string{}, map[string]string{}
	maps.Copy(labels, obj.GetLabels())
	maps.Copy(annotations, obj.GetAnnotations())
	delete(annotations, corev1.LastAppliedConfigAnnotation)
	delete(m, "status")
	delete(m, "apiVersion") // lists of the API server leave them out
	delete(m, "kind")
	m["metadata"] = []map[string]string{labels, annotations}
	data, err = json.Marshal(m)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// kinds are those that can be thought to be there.
var kinds = []*kind{
	newKind(kind{group: networkingv1.GroupName, version: "v1", name: "NetworkPolicy", short: []string{"netpol"}, namespaced: true},
		func(o *inspect.Objects) *[]networkingv1.NetworkPolicy { return &o.NetworkPolicies }, networkPolicy),
	newKind(kind{group: v1alpha1.GroupName, version: "v1alpha1", name: "AdminNetworkPolicy", short: []string{"anp"}},
		func(o *inspect.Objects) *[]v1alpha1.AdminNetworkPolicy { return &o.AdminNetworkPolicies }, adminPolicy),
	newKind(kind{group: v1alpha1.GroupName, version: "v1alpha1", name: "BaselineAdminNetworkPolicy", short: []string{"banp"}},
		func(o *inspect.Objects) *[]v1alpha1.BaselineAdminNetworkPolicy {
			return &o.BaselineAdminNetworkPolicies
		}, baselinePolicy),
	newKind(kind{group: v1alpha2.GroupName, version: "v1alpha2", name: "ClusterNetworkPolicy", short: []string{"cnp"}},
		func(o *inspect.Objects) *[]v1alpha2.ClusterNetworkPolicy { return &o.ClusterNetworkPolicies }, clusterPolicy),
	newKind(kind{group: egressfirewallv1.SchemeGroupVersion.Group, version: "v1", name: "EgressFirewall", short: []string{"ef"}, namespaced: true},
		func(o *inspect.Objects) *[]egressfirewallv1.EgressFirewall { return &o.EgressFirewalls }, egressFirewall),
	newKind(kind{version: "v1", name: "Service", short: []string{"svc"}, namespaced: true},
		func(o *inspect.Objects) *[]corev1.Service { return &o.Services }, service),
	newKind(kind{group: discoveryv1.GroupName, version: "v1", name: "EndpointSlice", namespaced: true},
		func(o *inspect.Objects) *[]discoveryv1.EndpointSlice { return &o.EndpointSlices }, endpointSlice),
	newKind(kind{version: "v1", name: "Namespace", short: []string{"ns"}},
		func(o *inspect.Objects) *[]corev1.Namespace { return &o.Namespaces }, namespace),
	newKind(kind{version: "v1", name: "Pod", short: []string{"po"}, namespaced: true},
		func(o *inspect.Objects) *[]corev1.Pod { return &o.Pods }, pod),
}

func kindNames() string {
	names := make([]string, 0, len(kinds))
	for _, k := range kinds {
		names = append(names, k.name)
	}
	return strings.Join(names, ", ")
}

// kindOf finds the kind of a manifest.
func kindOf(from, apiVersion, name string) (*kind, error) {
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		return nil, &InputError{Where: from, Why: err.Error()}
	}
	for _, k := range kinds {
		switch {
		case k.name != name || k.group != gv.Group:
		case k.version != gv.Version:
			return nil, &InputError{Where: from, Why: fmt.Sprintf("%s is read in version %s, not %s", name, k.version, gv.Version), Next: "convert the manifest"}
		default:
			return k, nil
		}
	}
	return nil, &InputError{
		Where: from, Why: fmt.Sprintf("%s of %s cannot be thought to be there", name, apiVersion),
		Next: "leave it out; what is possible: " + kindNames(),
	}
}

// kindByWord finds a kind as people write it: "NetworkPolicy", "networkpolicies", "netpol".
func kindByWord(word string) *kind {
	word = strings.ToLower(word)
	for _, k := range kinds {
		name := strings.ToLower(k.name)
		plural := name + "s"
		if stem, ok := strings.CutSuffix(name, "y"); ok {
			plural = stem + "ies"
		}
		if word == name || word == plural || slices.Contains(k.short, word) {
			return k
		}
	}
	return nil
}
