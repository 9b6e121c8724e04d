package install

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"helm.sh/helm/v4/pkg/release/common"
	release "helm.sh/helm/v4/pkg/release/v1"
	releaseutil "helm.sh/helm/v4/pkg/release/v1/util"
	"helm.sh/helm/v4/pkg/storage"
	"helm.sh/helm/v4/pkg/storage/driver"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
)

// keptRevisions are kept to go back to.
const keptRevisions = 10

// abandoned is how long an operation of somebody else is respected. Applying takes
// seconds; waiting for pods is no part of it.
const abandoned = 5 * time.Minute

// releases is Helm's book of this release. It is kept as helm keeps it, so that helm can
// read it and go on with it; what the book is about is done by this package, which knows
// what a network needs and spares every process the start-up of all of Helm.
type releases struct {
	book      *storage.Storage
	namespace string
	now       func() time.Time
}

func openReleases(secrets corev1client.SecretInterface, namespace string, now func() time.Time) *releases {
	d := driver.NewSecrets(secrets)
	d.SetLogger(slog.DiscardHandler)
	book := storage.Init(d)
	book.SetLogger(slog.DiscardHandler)
	book.MaxHistory = keptRevisions
	return &releases{book: book, namespace: namespace, now: now}
}

// last is the newest revision, nil if there is none.
func (r *releases) last() (*release.Release, error) {
	return asRelease(r.book.Last(Release))
}

// revision is one revision, or for 0 the newest that worked before the last one.
func (r *releases) revision(n int) (*release.Release, error) {
	if n > 0 {
		return asRelease(r.book.Get(Release, n))
	}
	all, err := r.history()
	if err != nil {
		return nil, err
	}
	for i := len(all) - 2; i >= 0; i-- {
		if s := all[i].Info.Status; s == common.StatusSuperseded || s == common.StatusDeployed {
			return all[i], nil
		}
	}
	return nil, nil
}

// history are all revisions, the newest last.
func (r *releases) history() ([]*release.Release, error) {
	found, err := r.book.History(Release)
	if errors.Is(err, driver.ErrReleaseNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("release %s: %w", Release, err)
	}
	var all []*release.Release
	for _, one := range found {
		rel, err := asRelease(one, nil)
		if err != nil {
			return nil, err
		}
		all = append(all, rel)
	}
	releaseutil.SortByRevision(all)
	return all, nil
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
	if err := r.book.Update(rel); err != nil {
		return fmt.Errorf("release %s: %w", Release, err)
	}
	return nil
}

// begin writes a new revision into the book, as one under way. That it can be written
// says that nobody else has begun one.
func (r *releases) begin(last *release.Release, next release.Release) (*release.Release, error) {
	next.Name, next.Namespace, next.ApplyMethod = Release, r.namespace, string(release.ApplyMethodServerSideApply)
	next.Info = &release.Info{FirstDeployed: r.now(), LastDeployed: r.now(), Description: next.Info.Description, Notes: next.Info.Notes}
	next.Version, next.Info.Status = 1, common.StatusPendingInstall
	if last != nil {
		next.Version, next.Info.Status = last.Version+1, common.StatusPendingUpgrade
		next.Info.FirstDeployed = last.Info.FirstDeployed
	}
	if err := r.book.Create(&next); err != nil {
		return nil, &Problem{What: "the installation cannot be recorded", Why: err, Next: "if somebody else is changing it, wait for that"}
	}
	return &next, nil
}

// finish records how a revision ended.
func (r *releases) finish(last, next *release.Release, failure error) error {
	if failure != nil {
		return r.fail(next, failure.Error())
	}
	// First the new one, so that there is one that is deployed whatever happens.
	next.Info.Status = common.StatusDeployed
	if err := r.book.Update(next); err != nil {
		return fmt.Errorf("release %s: %w", Release, err)
	}
	if last == nil || last.Info.Status != common.StatusDeployed {
		return nil
	}
	last.Info.Status = common.StatusSuperseded
	if err := r.book.Update(last); err != nil {
		return fmt.Errorf("release %s: %w", Release, err)
	}
	return nil
}

// forget removes the book. The newest revision goes last: who is interrupted finds it.
func (r *releases) forget() error {
	all, err := r.history()
	if err != nil {
		return err
	}
	for _, rel := range all {
		if _, err := r.book.Delete(rel.Name, rel.Version); err != nil && !errors.Is(err, driver.ErrReleaseNotFound) {
			return fmt.Errorf("release %s: %w", Release, err)
		}
	}
	return nil
}

// standing are the objects that may be in the cluster: those of the newest revision that
// worked, and of those after it, of which some were applied before they failed.
func (r *releases) standing() ([]*unstructured.Unstructured, error) {
	all, err := r.history()
	if err != nil {
		return nil, err
	}
	var standing []*unstructured.Unstructured
	for _, rel := range slices.Backward(all) {
		older, err := objectsOf(rel)
		if err != nil {
			return nil, err
		}
		standing = append(standing, leftOut(standing, older)...)
		if s := rel.Info.Status; s == common.StatusDeployed || s == common.StatusSuperseded {
			break
		}
	}
	return standing, nil
}

// objectsOf are those that a revision applied.
func objectsOf(rel *release.Release) ([]*unstructured.Unstructured, error) {
	if rel == nil {
		return nil, nil
	}
	_, manifests, err := releaseutil.SortManifests(map[string]string{"manifest": rel.Manifest}, nil, order())
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
