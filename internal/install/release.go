package install

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"helm.sh/helm/v4/pkg/action"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/kube"
	"helm.sh/helm/v4/pkg/release/common"
	release "helm.sh/helm/v4/pkg/release/v1"
	releaseutil "helm.sh/helm/v4/pkg/release/v1/util"
	"helm.sh/helm/v4/pkg/storage/driver"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/cli-runtime/pkg/genericclioptions"
)

// keptRevisions are kept to go back to.
const keptRevisions = 10

// abandoned is how long an operation of somebody else is respected. Applying takes
// seconds; waiting for pods is no part of it.
const abandoned = 5 * time.Minute

// Helm keeps the name in a variable of the package; ours must be the one that helm has
// as a program, whatever this program is called.
func init() { kube.ManagedFieldsManager = fieldManager } //nolint:gochecknoinits // a variable of Helm

// releases is Helm's book of this release, and what Helm does with it.
type releases struct {
	config    *action.Configuration
	namespace string
	now       func() time.Time
}

func openReleases(g genericclioptions.RESTClientGetter, namespace string, now func() time.Time) (*releases, error) {
	config := action.NewConfiguration(action.ConfigurationSetLogger(slog.DiscardHandler))
	if err := config.Init(g, namespace, "secret"); err != nil {
		return nil, fmt.Errorf("helm: %w", err)
	}
	return &releases{config: config, namespace: namespace, now: now}, nil
}

// last is the newest revision, nil if there is none.
func (r *releases) last() (*release.Release, error) {
	return asRelease(r.config.Releases.Last(Release))
}

// revision is one revision, or for 0 the newest that worked before the last one.
func (r *releases) revision(n int) (*release.Release, error) {
	if n > 0 {
		return asRelease(r.config.Releases.Get(Release, n))
	}
	all, err := r.config.Releases.History(Release)
	if errors.Is(err, driver.ErrReleaseNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("release %s: %w", Release, err)
	}
	var history []*release.Release
	for _, one := range all {
		rel, err := asRelease(one, nil)
		if err != nil {
			return nil, err
		}
		history = append(history, rel)
	}
	releaseutil.SortByRevision(history)
	for i := len(history) - 2; i >= 0; i-- {
		if s := history[i].Info.Status; s == common.StatusSuperseded || s == common.StatusDeployed {
			return history[i], nil
		}
	}
	return nil, nil
}

func asRelease(found any, err error) (*release.Release, error) {
	if errors.Is(err, driver.ErrReleaseNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("release %s: %w", Release, err)
	}
	switch rel := found.(type) {
	case *release.Release:
		return rel, nil
	case release.Release:
		return &rel, nil
	}
	return nil, fmt.Errorf("release %s: unknown form %T", Release, found)
}

// free makes a release usable that an interrupted operation left marked as busy.
func (r *releases) free(rel *release.Release) error {
	if rel == nil || !rel.Info.Status.IsPending() {
		return nil
	}
	if age := r.now().Sub(rel.Info.LastDeployed); age < abandoned {
		return &Problem{What: "somebody is changing the installation", Why: fmt.Errorf("release %s is %s since %s ago",
			Release, rel.Info.Status, age.Round(time.Second)), Next: fmt.Sprintf("wait for it; if it was interrupted, run this again in %s",
			(abandoned - age).Round(time.Second))}
	}
	return r.fail(rel, "interrupted")
}

// fail records that an operation did not succeed, so that the next one may begin.
func (r *releases) fail(rel *release.Release, why string) error {
	rel.SetStatus(common.StatusFailed, why)
	if err := r.config.Releases.Update(rel); err != nil {
		return fmt.Errorf("release %s: %w", Release, err)
	}
	return nil
}

// install applies the chart for the first time. What Helm does in the background when it
// is interrupted would be lost, so it is not: applying takes seconds.
func (r *releases) install(ctx context.Context, c *chart.Chart, v values, adopt bool) (*release.Release, error) {
	do := action.NewInstall(r.config)
	do.ReleaseName, do.Namespace = Release, r.namespace
	do.WaitStrategy, do.Timeout = kube.HookOnlyStrategy, abandoned
	do.TakeOwnership = adopt
	rel, err := do.RunWithContext(context.WithoutCancel(ctx), c, v.clone())
	return done(rel, err)
}

// upgrade applies the chart over an earlier revision.
func (r *releases) upgrade(ctx context.Context, c *chart.Chart, v values, adopt bool) (*release.Release, error) {
	do := action.NewUpgrade(r.config)
	do.Namespace, do.MaxHistory = r.namespace, keptRevisions
	do.WaitStrategy, do.Timeout = kube.HookOnlyStrategy, abandoned
	do.ServerSideApply, do.ForceConflicts = "true", true // the plan has shown what is overwritten
	do.ResetValues = true                                // the values are complete
	do.TakeOwnership = adopt
	rel, err := do.RunWithContext(context.WithoutCancel(ctx), Release, c, v.clone())
	return done(rel, err)
}

// rollback applies an earlier revision again, as a new one.
func (r *releases) rollback(revision int) (*release.Release, error) {
	do := action.NewRollback(r.config)
	do.Version, do.MaxHistory = revision, keptRevisions
	do.WaitStrategy, do.Timeout = kube.HookOnlyStrategy, abandoned
	do.ServerSideApply, do.ForceConflicts = "true", true
	if err := do.Run(Release); err != nil {
		return nil, applyProblem(err)
	}
	return r.last()
}

// uninstall deletes the objects and the book.
func (r *releases) uninstall() error {
	do := action.NewUninstall(r.config)
	do.WaitStrategy, do.Timeout = kube.HookOnlyStrategy, abandoned
	do.DeletionPropagation = "background"
	if _, err := do.Run(Release); err != nil {
		return applyProblem(err)
	}
	return nil
}

func done(found any, err error) (*release.Release, error) {
	if err != nil {
		return nil, applyProblem(err)
	}
	return asRelease(found, nil)
}

// applyProblem adds what to do to the errors that operators meet.
func applyProblem(err error) error {
	p := &Problem{What: "not everything was applied", Why: err, Next: "run this again: it goes on where it stopped"}
	switch {
	case strings.Contains(err.Error(), "cannot be imported into the current release"):
		p.What = "an object of this name belongs to something else"
		p.Next = "remove what created it, or take it over with --take-ownership"
	case apierrors.IsForbidden(err):
		p.Next = "use the credentials of a cluster administrator"
	}
	return p
}

// objects are those that a revision applied.
func objects(rel *release.Release) ([]*unstructured.Unstructured, error) {
	if rel == nil {
		return nil, nil
	}
	_, manifests, err := releaseutil.SortManifests(map[string]string{"manifest": rel.Manifest}, nil, releaseutil.InstallOrder)
	if err != nil {
		return nil, fmt.Errorf("release %s: %w", Release, err)
	}
	var all []*unstructured.Unstructured
	for _, m := range manifests {
		o, err := parseObject(m.Content)
		if err != nil {
			return nil, fmt.Errorf("release %s: %w", Release, err)
		}
		all = append(all, o)
	}
	return all, nil
}
