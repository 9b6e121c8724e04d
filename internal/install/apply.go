package install

import (
	"context"
	"fmt"
	"slices"

	release "helm.sh/helm/v4/pkg/release/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// replace makes a new revision: it applies the objects and removes those that the last
// revision has on top. It is not interrupted half-way: it takes seconds.
func (op *operation) replace(ctx context.Context, next release.Release, objects []*unstructured.Unstructured) (*release.Release, error) {
	ctx = context.WithoutCancel(ctx)
	if err := op.releases.free(op.last); err != nil {
		return nil, err
	}
	made, err := op.releases.begin(op.last, next)
	if err != nil {
		return nil, err
	}
	failure := op.applyAll(ctx, objects)
	if failure == nil {
		failure = op.remove(ctx, leftOut(objects, op.previous))
	}
	if err := op.releases.finish(op.last, made, failure); failure == nil && err != nil {
		return nil, err
	}
	if failure != nil {
		return nil, applyProblem(failure)
	}
	return made, nil
}

// again makes a new revision of an earlier one.
func (op *operation) again(ctx context.Context, earlier *release.Release, objects []*unstructured.Unstructured) (*release.Release, error) {
	last, err := op.releases.last()
	if err != nil {
		return nil, reachable(err)
	}
	back := *op
	back.last = last
	if back.previous, err = op.releases.standing(); err != nil {
		return nil, reachable(err)
	}
	return back.replace(ctx, release.Release{
		Info:  &release.Info{Description: fmt.Sprintf("Rollback to %d", earlier.Version), Notes: earlier.Info.Notes},
		Chart: earlier.Chart, Config: earlier.Config, Manifest: earlier.Manifest,
	}, objects)
}

func (op *operation) applyAll(ctx context.Context, objects []*unstructured.Unstructured) error {
	for _, o := range objects {
		if _, err := op.cluster.apply(ctx, own(o, op.Namespace)); err != nil {
			return fmt.Errorf("%s: %w", changeOf(Modify, o).Object(), err)
		}
	}
	return nil
}

// remove deletes objects in the reverse of the order in which they are applied, so that
// pods lose their rights after they have ended. What belongs to something else by now
// stays.
func (op *operation) remove(ctx context.Context, objects []*unstructured.Unstructured) error {
	for _, o := range slices.Backward(objects) {
		live, err := op.cluster.get(ctx, o)
		if err != nil {
			return err
		}
		if live == nil || !isOurs(live, op.Namespace) {
			continue
		}
		client, err := op.cluster.client(o)
		if err != nil {
			return err
		}
		err = client.Delete(ctx, o.GetName(), metav1.DeleteOptions{PropagationPolicy: propagation(metav1.DeletePropagationBackground)})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("%s: %w", changeOf(Remove, o).Object(), err)
		}
	}
	return nil
}

// applyProblem adds what to do.
func applyProblem(err error) error {
	p := &Problem{What: "not everything was applied", Why: err, Next: "run this again: it goes on where it stopped"}
	if apierrors.IsForbidden(err) {
		p.Next = "use the credentials of a cluster administrator"
	}
	return p
}
