// Package install sets the network up in a cluster, changes it and takes it away, with
// the Helm chart that the program carries:
//
//	look at the cluster ── detect settings ── render ── check ── compare ──┬─ dry run: YAML
//	                                                                       ├─ diff
//	                                                                       └─ apply ── wait
//
// It is the only package that knows Helm. The release it makes is an ordinary one: helm
// list, history and rollback see it. Unlike helm it looks before it leaps: it finds out
// what the cluster has decided already, says what stands in the way and what to do, shows
// what will change object by object, and waits with the reason for each component.
package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/release/common"
	release "helm.sh/helm/v4/pkg/release/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/cli-runtime/pkg/genericclioptions"
)

// Config is what every operation needs.
type Config struct {
	Getter    genericclioptions.RESTClientGetter
	Namespace string // empty for DefaultNamespace
	Version   string // of the program, and so of the image
	In        io.Reader
	Progress  io.Writer        // usually standard error
	Now       func() time.Time // nil for time.Now
}

// Installer installs, upgrades and uninstalls.
type Installer struct {
	Config
}

// New makes an Installer; it does not call the API server.
func New(c Config) *Installer {
	if c.Namespace == "" {
		c.Namespace = DefaultNamespace
	}
	if c.Progress == nil {
		c.Progress = io.Discard
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	c.Getter = getter{c.Getter}
	return &Installer{Config: c}
}

// Mode is how far an operation goes.
type Mode string

// The modes.
const (
	Apply     Mode = ""       // change the cluster
	DryServer Mode = "server" // look at the cluster, and return what would be applied
	DryClient Mode = "client" // return what would be applied, without any cluster
	Diff      Mode = "diff"   // return what would change
)

// Options are those of an installation and of an upgrade.
type Options struct {
	Values Values
	Mode   Mode
	// SkipChecks are names of checks that only warn; "all" is all of them.
	SkipChecks []string
	// TakeOwnership of objects of the same names that something else created.
	TakeOwnership bool
	Wait          bool
	Timeout       time.Duration // of the wait
	// OrInstall lets an upgrade install what is not installed.
	OrInstall bool
	// ResetValues forgets the settings of the installation that an upgrade changes.
	ResetValues bool
	// RollbackOnFailure goes back if an upgrade's pods do not get ready.
	RollbackOnFailure bool
}

// Outcome is what an operation did.
type Outcome string

// The outcomes.
const (
	Installed   Outcome = "installed"
	Upgraded    Outcome = "upgraded"
	Repaired    Outcome = "repaired" // what was changed by hand is as it was
	Unchanged   Outcome = "unchanged"
	RolledBack  Outcome = "rolledBack"
	Uninstalled Outcome = "uninstalled"
	Planned     Outcome = "planned" // nothing was changed
)

// Result is what an operation did, or would do.
type Result struct {
	APIVersion string      `json:"apiVersion"`
	Kind       string      `json:"kind"`
	Outcome    Outcome     `json:"outcome"`
	Namespace  string      `json:"namespace"`
	Version    string      `json:"version"`            // of the program in the cluster
	Revision   int         `json:"revision,omitempty"` // of the release
	Detected   []Detection `json:"detected,omitempty"`
	Findings   []Finding   `json:"findings,omitempty"`
	Changes    []Change    `json:"changes,omitempty"`
	// Manifest is all objects as YAML, and Notes what to do next.
	Manifest string `json:"-"`
	Notes    string `json:"-"`
}

func (i *Installer) result(outcome Outcome) *Result {
	return &Result{APIVersion: "ovnkctl.io/v1alpha1", Kind: "InstallResult", Outcome: outcome, Namespace: i.Namespace, Version: i.Version}
}

// operation is an installation or an upgrade under way.
type operation struct {
	*Installer
	Options
	cluster  *cluster
	releases *releases
	chart    *chart.Chart
	last     *release.Release // nil for none
	previous []*unstructured.Unstructured
	values   values
	rendered *rendered
	result   *Result
}

// Install sets the network up. On a cluster that has it, with the same settings, it puts
// right what was changed by hand, or does nothing.
func (i *Installer) Install(ctx context.Context, o Options) (*Result, error) {
	asked, err := o.Values.read(i.In)
	if err != nil {
		return nil, err
	}
	if o.Mode == DryClient {
		return i.renderOnly(asked)
	}
	op, err := i.begin(ctx, o)
	if err != nil {
		return nil, err
	}
	facts, err := op.cluster.look(ctx)
	if err != nil {
		return nil, err
	}
	i.describe(facts)
	detected := facts.detect(defaultClusterSubnets(op.chart))
	op.values, op.result.Detected = complete(asked, detected)
	i.describeDetected(op.result.Detected)
	if err := op.sameSettings(); err != nil {
		return nil, err
	}
	return op.finish(ctx, facts)
}

// renderOnly needs no cluster.
func (i *Installer) renderOnly(asked values) (*Result, error) {
	c, err := loadChart(i.Version)
	if err != nil {
		return nil, err
	}
	r, err := render(c, asked, i.Namespace)
	if err != nil {
		return nil, err
	}
	result := i.result(Planned)
	result.Manifest, result.Notes = namespaceYAML(i.Namespace)+r.manifest, r.notes
	return result, nil
}

// begin opens the cluster, if it answers, and the book of the release.
func (i *Installer) begin(ctx context.Context, o Options) (*operation, error) {
	op := &operation{Installer: i, Options: o, result: i.result(Planned)}
	var err error
	if op.cluster, err = connect(i.Getter); err != nil {
		return nil, err
	}
	if err = op.cluster.answers(ctx, o.Timeout); err != nil {
		return nil, err
	}
	if op.chart, err = loadChart(i.Version); err != nil {
		return nil, err
	}
	op.releases = openReleases(op.cluster.kube.CoreV1().Secrets(i.Namespace), i.Namespace, i.Now)
	return op, nil
}

// sameSettings: an installation does not change settings; that takes an upgrade, where
// those that are not named stay as they are.
func (op *operation) sameSettings() error {
	last, err := op.releases.last()
	if err != nil {
		return reachable(err)
	}
	if op.last = last; last == nil || last.Info.Status != common.StatusDeployed {
		return nil
	}
	op.keepServers()
	if was := last.Chart.Metadata.AppVersion; was != op.Version {
		return &Problem{What: "version " + was + " is installed", Why: errors.New("this is " + op.Version),
			Next: "run `ovnkctl upgrade` with the same flags"}
	}
	if changed := differences(last.Config, op.values); changed != "" {
		return &Problem{What: "the network is installed with other settings", Why: errors.New(changed),
			Next: "run `ovnkctl upgrade` with the same flags; settings that are not named stay"}
	}
	return nil
}

// keepServers takes the API servers of the installation for those that were found now: that
// others have come or gone is no other setting.
func (op *operation) keepServers() {
	was, has := values(op.last.Config).at(bootstrapPath)
	if has && slices.ContainsFunc(op.result.Detected, func(d Detection) bool { return d.Path == bootstrapPath }) {
		op.values.set(bootstrapPath, was)
	}
}

func reachable(err error) error {
	return &Problem{What: "the state of the installation cannot be read", Why: err,
		Next: "Helm keeps it in Secrets of the namespace: use credentials that may read them"}
}

// finish renders, checks and compares, and does what the mode allows.
func (op *operation) finish(ctx context.Context, facts *facts) (*Result, error) {
	var err error
	if op.rendered, err = render(op.chart, op.values, op.Namespace); err != nil {
		return nil, err
	}
	if err := op.leaveDefinitions(ctx); err != nil {
		return nil, err
	}
	op.result.Manifest, op.result.Notes = namespaceYAML(op.Namespace)+op.rendered.manifest, op.rendered.notes
	if op.previous, err = op.releases.standing(); err != nil {
		return nil, reachable(err)
	}
	op.result.Findings, err = check(ctx, &subject{
		cluster: op.cluster, facts: facts, namespace: op.Namespace,
		config: op.rendered.config, previous: configOf(op.previous), detected: op.result.Detected,
	}, op.SkipChecks)
	if err != nil {
		return nil, err
	}
	op.describeFindings(op.result.Findings)
	if op.Mode == DryServer {
		return op.result, asFindings(failed(op.result.Findings))
	}
	if op.result.Changes, err = op.plan(ctx, op.rendered.objects, op.previous); err != nil {
		return nil, err
	}
	if op.Mode == Diff {
		return op.result, asFindings(failed(op.result.Findings), differs(op.result.Changes))
	}
	if err := failed(op.result.Findings); err != nil {
		return op.result, err
	}
	return op.apply(ctx)
}

// asFindings: what only looks has not failed when it finds something.
func asFindings(errs ...error) error {
	for _, err := range errs {
		var p *Problem
		if errors.As(err, &p) {
			p.Code = exitFindings
			return p
		}
	}
	return nil
}

func differs(changes []Change) error {
	if len(changes) == 0 {
		return nil
	}
	return &Problem{What: count(len(changes), "object") + " would change"}
}

// apply changes the cluster and waits.
func (op *operation) apply(ctx context.Context) (*Result, error) {
	r := op.result
	deployed := op.last != nil && op.last.Info.Status == common.StatusDeployed
	same := deployed && op.last.Chart.Metadata.AppVersion == op.Version && values(op.last.Config).equal(op.values)
	switch {
	case same && len(r.Changes) == 0:
		r.Outcome, r.Revision = Unchanged, op.last.Version
		op.say("Nothing to do: %s is installed with these settings (revision %d)", op.Version, r.Revision)
		return r, op.wait(ctx)
	case same:
		r.Outcome = Repaired
	case deployed:
		r.Outcome = Upgraded
	default:
		r.Outcome = Installed
	}
	op.describePlan(r.Changes)
	if err := op.cluster.ensureNamespace(ctx, op.Namespace); err != nil {
		return r, err
	}
	applied, err := op.replace(ctx, release.Release{
		Info:  &release.Info{Description: string(r.Outcome), Notes: op.rendered.notes},
		Chart: op.chart, Config: op.values.clone(), Manifest: op.rendered.manifest,
	}, op.rendered.objects)
	if err != nil {
		return r, err
	}
	r.Revision = applied.Version
	op.say("Applied %d objects (revision %d)", len(op.rendered.objects), r.Revision)
	if err := ctx.Err(); err != nil {
		return r, fmt.Errorf("interrupted after everything was applied: %w", err)
	}
	if err := op.wait(ctx); err != nil {
		return r, op.goBack(ctx, err)
	}
	return r, nil
}

// wait waits for the pods if that was asked for.
func (op *operation) wait(ctx context.Context) error {
	if !op.Wait {
		return nil
	}
	return op.awaitReady(ctx, op.cluster.kube, op.rendered.objects, op.Timeout)
}

// goBack rolls a failed upgrade back if that was asked for.
func (op *operation) goBack(ctx context.Context, why error) error {
	if !op.RollbackOnFailure || op.last == nil || errors.Is(why, context.Canceled) {
		return why
	}
	op.say("Going back to revision %d: %v", op.last.Version, why)
	if _, err := op.again(ctx, op.last, op.previous); err != nil {
		return errors.Join(why, fmt.Errorf("and going back failed: %w", err))
	}
	if err := op.awaitReady(ctx, op.cluster.kube, op.previous, op.Timeout); err != nil {
		return errors.Join(why, fmt.Errorf("and revision %d does not get ready again: %w", op.last.Version, err))
	}
	return &Problem{What: fmt.Sprintf("the upgrade failed and was taken back to revision %d", op.last.Version), Why: why,
		Next: "nothing is left of it; look at the reason, then try again"}
}
