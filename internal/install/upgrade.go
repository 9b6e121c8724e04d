package install

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	chart "helm.sh/helm/v4/pkg/chart/v2"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/ovnkctl/ovnkctl/internal/config"
)

var errNotInstalled = &Problem{What: "the network is not installed", Next: "run `ovnkctl install`"}

// Upgrade brings an installation to this program's version and to new settings. Settings
// that are not named stay as they are.
func (i *Installer) Upgrade(ctx context.Context, o Options) (*Result, error) {
	asked, err := o.Values.read(i.In)
	if err != nil {
		return nil, err
	}
	op, err := i.begin(ctx, o)
	if err != nil {
		return nil, err
	}
	facts, err := op.cluster.look(ctx)
	if err != nil {
		return nil, err
	}
	if op.last, err = op.releases.last(); err != nil {
		return nil, reachable(err)
	}
	if op.last == nil && o.OrInstall {
		return i.Install(ctx, o)
	}
	if op.last == nil {
		return nil, errNotInstalled
	}
	i.describe(facts)
	detected := facts.detect(defaultClusterSubnets(op.chart))
	if o.ResetValues {
		op.values, op.result.Detected = complete(asked, detected)
		i.describeDetected(op.result.Detected)
	} else {
		op.values = values(op.last.Config).clone()
		op.values.merge(asked)
		op.values = op.values.clone()
	}
	return op.finish(ctx, facts)
}

// RollbackOptions are those of a rollback.
type RollbackOptions struct {
	Revision int // 0 for the one before the last
	Mode     Mode
	Wait     bool
	Timeout  time.Duration
}

// Rollback applies an earlier revision again.
func (i *Installer) Rollback(ctx context.Context, o RollbackOptions) (*Result, error) {
	op, err := i.begin(ctx, Options{Timeout: o.Timeout})
	if err != nil {
		return nil, err
	}
	last, err := op.releases.last()
	if err != nil {
		return nil, reachable(err)
	}
	if last == nil {
		return nil, errNotInstalled
	}
	target, err := op.releases.revision(o.Revision)
	if err != nil {
		return nil, err
	}
	if target == nil {
		return nil, &Problem{What: "there is no such revision to go back to", Next: "see them: helm -n " + i.Namespace + " history " + Release}
	}
	next, err := objectsOf(target)
	if err != nil {
		return nil, err
	}
	if next, err = op.withoutForeign(ctx, next); err != nil {
		return nil, err
	}
	before, err := op.releases.standing()
	if err != nil {
		return nil, reachable(err)
	}
	r := op.result
	r.Version = target.Chart.Metadata.AppVersion
	if r.Changes, err = op.plan(ctx, next, before); err != nil {
		return nil, err
	}
	if o.Mode != Apply {
		r.Manifest = target.Manifest
		return r, nil
	}
	op.describePlan(r.Changes)
	applied, err := op.again(ctx, target, next)
	if err != nil {
		return r, err
	}
	r.Outcome, r.Revision = RolledBack, applied.Version
	i.say("Applied revision %d again (as revision %d)", target.Version, applied.Version)
	if !o.Wait {
		return r, nil
	}
	return r, i.awaitReady(ctx, op.cluster.kube, next, o.Timeout)
}

// checkNetworkChange: what nodes and pods have already been given does not change under
// them.
func checkNetworkChange(_ context.Context, s *subject) ([]Finding, error) {
	if s.previous == nil {
		return nil, nil
	}
	was, is := s.previous, s.config
	var findings []Finding
	for _, f := range []struct{ path, was, is string }{
		{"network.joinSubnets", was.Network.JoinSubnets, is.Network.JoinSubnets},
		{"network.transitSubnets", was.Network.TransitSubnets, is.Network.TransitSubnets},
		{"datapath", string(was.Datapath), string(is.Datapath)},
		{"gateway.bridge", was.Gateway.Bridge, is.Gateway.Bridge},
	} {
		if f.was != f.is {
			findings = append(findings, fail("set it back; to change it, uninstall and install again",
				"%s was %s and cannot become %s while nodes use it", f.path, f.was, f.is))
		}
	}
	for _, cidr := range strings.Split(was.Network.ClusterSubnets, ",") {
		if !slices.Contains(strings.Split(is.Network.ClusterSubnets, ","), cidr) {
			findings = append(findings, fail("keep it and add others behind it",
				"network.clusterSubnets no longer has %s, from which pods have addresses", cidr))
		}
	}
	return findings, nil
}

// configOf is the configuration that objects of a release contain, nil if there is none
// that this version understands: then there is nothing to compare.
func configOf(objects []*unstructured.Unstructured) *config.Config {
	c, err := (&rendered{objects: objects}).parseConfig()
	if err != nil {
		return nil
	}
	return c
}

// defaultClusterSubnets are those of the chart.
func defaultClusterSubnets(c *chart.Chart) string {
	v, _ := values(c.Values).at("network.clusterSubnets")
	return text(v)
}

// differences names the settings in which two trees differ.
func differences(was, is values) string {
	a, b := was.clone().flat(""), is.clone().flat("")
	var out []string
	for _, path := range slices.Sorted(maps.Keys(a)) {
		if now, ok := b[path]; !ok {
			out = append(out, fmt.Sprintf("%s is %s, and not set now", path, a[path]))
		} else if now != a[path] {
			out = append(out, fmt.Sprintf("%s is %s, not %s", path, a[path], now))
		}
	}
	for _, path := range slices.Sorted(maps.Keys(b)) {
		if _, ok := a[path]; !ok {
			out = append(out, fmt.Sprintf("%s is not set, and %s now", path, b[path]))
		}
	}
	return strings.Join(out, "; ")
}

// flat are the leaves of a tree by their paths.
func (v values) flat(at string) map[string]string {
	out := map[string]string{}
	for key, value := range v {
		path := strings.TrimPrefix(at+"."+key, ".")
		if tree, ok := asValues(value); ok {
			maps.Copy(out, tree.flat(path))
			continue
		}
		out[path] = text(value)
	}
	return out
}
