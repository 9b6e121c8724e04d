package install

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// awaitGone waits until pods with these labels have ended.
func (u *uninstallation) awaitGone(ctx context.Context, apps ...string) error {
	return u.await(ctx, func(o *observed) (string, []string) {
		var missing []string
		for _, pod := range o.pods {
			if slices.Contains(apps, pod.Labels["app"]) && !u.skipped(pod.Spec.NodeName) {
				missing = append(missing, pod.Spec.NodeName+": pod "+pod.Name+" is ending")
			}
		}
		if len(missing) == 0 {
			return "", nil
		}
		return count(len(missing), "pod") + " to end", missing
	}, "a node that does not answer can be left out with --skip-unreachable")
}

// await waits until nothing is missing; state is said when it changes.
func (u *uninstallation) await(ctx context.Context, look func(*observed) (state string, missing []string), next string) error {
	start := u.Now()
	w := newWatcher(ctx, u.cluster.kube, u.Namespace)
	defer w.stop()
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	said := ""
	var missing []string
	for w.sync(ctx) {
		var state string
		state, missing = look(w.look(ctx, u.Now()))
		slices.Sort(missing)
		shown := missing[:min(len(missing), maxReasons)]
		if line := strings.TrimSuffix(state+"; "+strings.Join(shown, "; "), "; "); line != said && line != "" {
			said = line
			u.say("%5s  %s", u.since(start), line)
		}
		if len(missing) == 0 {
			return nil
		}
		select {
		case <-w.changed:
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	return &Problem{What: fmt.Sprintf("not finished after %s", u.options.Timeout), Why: errors.New(strings.Join(missing, "\n  ")), Code: exitTimeout,
		Next: "run this again: it goes on where it stopped; " + next}
}

// persist tries until the API server answers: while hosts are cleaned it may be out of
// reach for some moments. What is not there any more is fine.
func (u *uninstallation) persist(ctx context.Context, do func() error) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		err := do()
		if err == nil || apierrors.IsNotFound(err) {
			return nil
		}
		if reason := apierrors.ReasonForError(err); reason != metav1.StatusReasonUnknown && !temporary(reason) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-tick.C:
		}
	}
}

func temporary(reason metav1.StatusReason) bool {
	return slices.Contains([]metav1.StatusReason{
		metav1.StatusReasonServerTimeout, metav1.StatusReasonTimeout, metav1.StatusReasonTooManyRequests,
		metav1.StatusReasonServiceUnavailable, metav1.StatusReasonInternalError,
	}, reason)
}
