package install

import (
	"context"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/version"
)

// bundleVersion is the annotation with the version of the API that a definition is from.
const bundleVersion = "policy.networking.k8s.io/bundle-version"

// isKept tells whether an object stays when the release goes. Only definitions do: with them
// the objects of their kinds would go, which are the users'.
func isKept(o *unstructured.Unstructured) bool {
	return o.GetAnnotations()["helm.sh/resource-policy"] == "keep"
}

// leaveDefinitions takes those definitions out of what is to be applied that the cluster has
// from something else, or newer.
func (op *operation) leaveDefinitions(ctx context.Context) error {
	mine, err := op.withoutForeign(ctx, op.rendered.objects)
	if err != nil {
		return err
	}
	op.rendered.only(mine)
	return nil
}

// only leaves out all objects but those.
func (r *rendered) only(these []*unstructured.Unstructured) {
	all, parts := r.objects, r.parts
	r.objects, r.parts, r.manifest = nil, nil, ""
	for i, o := range all {
		if slices.Contains(these, o) {
			r.objects, r.parts = append(r.objects, o), append(r.parts, parts[i])
			r.manifest += parts[i]
		}
	}
}

// withoutForeign are the objects less the definitions that are to be left as they are.
func (op *operation) withoutForeign(ctx context.Context, objects []*unstructured.Unstructured) ([]*unstructured.Unstructured, error) {
	var out []*unstructured.Unstructured
	for _, o := range objects {
		why := ""
		if isKept(o) {
			live, err := op.cluster.get(ctx, o)
			if err != nil {
				return nil, err
			}
			why = op.whyLeave(live, o)
		}
		if why == "" {
			out = append(out, o)
			continue
		}
		op.say("%s stays as it is: %s", changeOf(Modify, o).Object(), why)
	}
	return out, nil
}

// whyLeave says why a definition in the cluster stays, empty if ours takes its place. One that
// another network brought serves as well as ours; an older version would lose fields.
func (op *operation) whyLeave(live, o *unstructured.Unstructured) string {
	if live == nil || op.TakeOwnership {
		return ""
	}
	if !isOurs(live, op.Namespace) {
		return "something else defined it"
	}
	has, err := version.ParseGeneric(live.GetAnnotations()[bundleVersion])
	if err != nil {
		return ""
	}
	if brings, err := version.ParseGeneric(o.GetAnnotations()[bundleVersion]); err == nil && brings.LessThan(has) {
		return "it is of the newer version " + has.String()
	}
	return ""
}
