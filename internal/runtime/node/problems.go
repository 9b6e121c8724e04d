//go:build linux

package node

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ovnkctl/ovnkctl/internal/annotation"
	"github.com/ovnkctl/ovnkctl/internal/runtime/engine"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature/policy"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

// problemsEvery is how often the Node is written at most, and how long a problem must last at
// least: most are over at once, such as rows that wait for others, and what one policy does to
// all nodes of a big cluster at a time is as many writes as there are nodes.
const problemsEvery = 30 * time.Second

// problems has what this node cannot put in force of policies on its Node, from where the
// controller takes it to the policies: all nodes of one policy would be too many writers. What
// is the same on every node the controller knows by itself.
//
//	engine ──reasons──> problems ──annotation k8s.ovn.org/zone-problems──> controller ──> status
type problems struct {
	node  string
	write func(world.ObjectRef, map[string]string)
	log   *slog.Logger

	mu   sync.Mutex
	open map[world.PolicyKey]problem // what the engine says
	late map[world.PolicyKey]problem // those that wait for a database
	now  func() time.Time

	own  world.ObjectRef // what says is about; empty before it is known
	says string
}

// problem is that of one policy.
type problem struct {
	reason, message string
	since           time.Time
}

func newProblems(node string, write func(world.ObjectRef, map[string]string), log *slog.Logger) *problems {
	return &problems{node: node, write: write, log: log, open: map[world.PolicyKey]problem{}, late: map[world.PolicyKey]problem{}, now: time.Now}
}

// take keeps the reasons of a key that are the controller's to report, and returns the others.
func (p *problems) take(featureName string, key feature.Key, reasons []feature.Reason) []feature.Reason {
	if featureName != policy.Name {
		return reasons
	}
	reasons = slices.DeleteFunc(slices.Clone(reasons), func(r feature.Reason) bool { return policy.SameOnEveryNode(r.Code) })
	of, ok := policy.Of(key)
	if !ok {
		return reasons
	}
	reasons = slices.DeleteFunc(reasons, func(r feature.Reason) bool { return r.Code == policy.DomainNotAskedFor })
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(reasons) == 0 {
		delete(p.open, of)
		return nil
	}
	since := p.now()
	if was, ok := p.open[of]; ok {
		since = was.since
	}
	message := reasons[0].Message
	if r := reasons[0].Remedy; r != "" {
		message += "; " + r
	}
	if n := len(reasons); n > 1 {
		message = fmt.Sprintf("%d problems: %s", n, message)
	}
	p.open[of] = problem{reasons[0].Code, cut(message), since}
	p.log.Warn("policy not as asked for", "feature", featureName, "key", key.String(), "code", reasons[0].Code, "reason", message)
	return nil
}

// cut shortens a message to what the annotation takes.
func cut(message string) string {
	if len(message) <= annotation.MaxZoneMessage {
		return message
	}
	return strings.ToValidUTF8(message[:annotation.MaxZoneMessage-len("…")], "") + "…"
}

// databaseAway is the reason of policies that have changed while a database was away. What
// was in force before still is.
const databaseAway = "DatabaseAway"

// wait takes over which policies wait for databases, if any are away.
func (p *problems) wait(policies []world.PolicyKey, databases []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	late := make(map[world.PolicyKey]problem, len(policies))
	for _, key := range policies {
		since := p.now()
		if was, ok := p.late[key]; ok {
			since = was.since
		}
		late[key] = problem{databaseAway, fmt.Sprintf("not connected to %s: the newest version is not in force there; look at ovnkctl's pod on the node",
			strings.Join(databases, " and ")), since}
	}
	p.late = late
}

// annotation is what the Node should say: the problems that there have been for so long. If
// they are too many, it is the same ones after a restart.
func (p *problems) annotation(lasting time.Duration) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []annotation.ZoneProblem
	all := maps.Clone(p.late)
	maps.Copy(all, p.open)
	for key, o := range all {
		if p.now().Sub(o.since) >= lasting {
			list = append(list, annotation.ZoneProblem{
				Kind: string(key.Kind), Namespace: key.Namespace, Name: key.Name, Reason: o.reason, Message: o.message,
			})
		}
	}
	slices.SortFunc(list, func(a, b annotation.ZoneProblem) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return annotation.ZoneProblems.Encode(list[:min(len(list), annotation.MaxZoneProblems)])
}

// nodeGetter is the API server's Nodes.
type nodeGetter interface {
	Get(context.Context, string, metav1.GetOptions) (*corev1.Node, error)
}

// ownZone is what the node makes of its databases.
type ownZone struct {
	store  *world.Store
	engine *engine.Engine
}

// waiting are the policies that wait for databases that are away, and those.
func (z ownZone) waiting() (policies []world.PolicyKey, databases []string) {
	databases = z.engine.Status().Offline
	if len(databases) == 0 {
		return nil, nil
	}
	behind := z.engine.Behind(policy.Name)
	z.store.Read(func(v world.View) {
		for _, key := range behind {
			of, ok := policy.Of(key)
			if !ok {
				continue
			}
			if _, there := v.Policy(of); there {
				policies = append(policies, of)
			}
		}
	})
	return policies, databases
}

// run keeps the annotation until ctx ends, once the start of the engine is over: what a Node
// says from before stands until it is known whether it still holds.
func (p *problems) run(ctx context.Context, nodes nodeGetter, z ownZone) {
	select {
	case <-z.engine.Synced():
	case <-ctx.Done():
		return
	}
	tick := time.NewTicker(problemsEvery)
	defer tick.Stop()
	var own world.ObjectRef
	for {
		select {
		case <-tick.C:
			p.wait(z.waiting())
			z.store.Read(func(v world.View) {
				if n, ok := v.Node(p.node); ok {
					own = n.Ref()
				}
			})
			p.reconcile(ctx, nodes, own)
		case <-ctx.Done():
			return
		}
	}
}

// reconcile has the own Node say what it should; own is its incarnation as last seen.
func (p *problems) reconcile(ctx context.Context, nodes nodeGetter, own world.ObjectRef) {
	lasting := problemsEvery
	if p.own != own {
		n, err := nodes.Get(ctx, p.node, metav1.GetOptions{})
		if err != nil || string(n.UID) != own.UID {
			return // the next time; that the API server is away others say
		}
		p.own, p.says = own, n.Annotations[annotation.ZoneProblems.Key()]
		lasting = 0 // they may have lasted before this program began
	}
	if want := p.annotation(lasting); want != p.says && own.Name != "" {
		p.write(own, map[string]string{annotation.ZoneProblems.Key(): want})
		p.says = want
	}
}
