package inspect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// right is what somebody may do, as a rule of RBAC has it.
type right struct {
	verbs     string // with commas
	group     string
	resource  string
	namespace string // empty for all
}

// of is the resource with its group, as kubectl takes it.
func (r right) of() string {
	if r.group == "" {
		return r.resource
	}
	return r.resource + "." + r.group
}

// unreachable tells whether an error is not about what was asked: then all will have it.
func unreachable(err error) bool {
	var status apierrors.APIStatus
	return !errors.As(err, &status) || apierrors.IsUnauthorized(err)
}

// refusal is the problem behind an error of the API server. Of a refusal it says what the
// one who asked has to be given.
func refusal(err error, what string, needs right) *Problem {
	p := &Problem{What: what, Why: err.Error(), err: err}
	switch {
	case apierrors.IsForbidden(err), strings.Contains(err.Error(), "is forbidden"):
		r := &refusals{}
		r.add(err, needs)
		refused := r.problems()[0]
		refused.What = what
		return refused
	case apierrors.IsUnauthorized(err):
		p.Why, p.Next = "the API server does not know who you are", "log in again, or look at the user of the kubeconfig's context"
	case unreachable(err):
		p.Next = "look whether the API server is up and the kubeconfig names its address; --context chooses another cluster"
		if errors.Is(err, context.DeadlineExceeded) {
			p.Next += "; --timeout and --request-timeout wait longer"
		}
	}
	return p
}

// refusals are rights that somebody does not have. They are told together: they are given
// together, too.
type refusals struct {
	user    string
	missing []right
	err     error // one of them
}

// whom is how the API server's refusals begin.
var whom = regexp.MustCompile(`User "([^"]+)"`)

func (r *refusals) add(err error, needs right) {
	if m := whom.FindStringSubmatch(err.Error()); m != nil {
		r.user = m[1]
	}
	r.missing, r.err = append(r.missing, needs), err
}

// problems are one for all namespaces, and one for each namespace alone.
func (r *refusals) problems() []*Problem {
	slices.SortFunc(r.missing, func(a, b right) int {
		return cmp.Or(strings.Compare(a.namespace, b.namespace), strings.Compare(a.of(), b.of()))
	})
	var out []*Problem
	for rest := r.missing; len(rest) > 0; {
		n := slices.IndexFunc(rest, func(o right) bool { return o.namespace != rest[0].namespace || o.verbs != rest[0].verbs })
		if n < 0 {
			n = len(rest)
		}
		out = append(out, r.problem(rest[:n]))
		rest = rest[n:]
	}
	return out
}

// problem is that of rights that differ in what they are for alone.
func (r *refusals) problem(missing []right) *Problem {
	what := missing[0].resource
	if len(missing) > 1 {
		what = fmt.Sprintf("objects of %d kinds", len(missing))
	}
	var resources []string
	for _, m := range missing {
		resources = append(resources, m.of())
	}
	where := "in all namespaces"
	if missing[0].namespace != "" {
		where = "in namespace " + missing[0].namespace
	}
	who := "you"
	if r.user != "" {
		who = fmt.Sprintf("you (%q)", r.user)
	}
	return &Problem{
		What: what,
		Why:  fmt.Sprintf("%s may not %s %s %s", who, strings.ReplaceAll(missing[0].verbs, ",", " and "), strings.Join(resources, ", "), where),
		Next: "have the right given to you: " + r.grant(missing[0], strings.Join(resources, ",")),
		err:  r.err, everywhere: true,
	}
}

// grant is the command by which an administrator gives rights. What was given before by such a
// command stays: reconcile adds to what is there.
func (r *refusals) grant(like right, resources string) string {
	name := "ovnkctl-" + strings.ReplaceAll(strings.TrimPrefix(like.resource, "pods/"), "/", "-")
	if like.verbs == "list" {
		name = "ovnkctl-list"
	}
	subject := "--user=NAME"
	if r.user != "" {
		subject = "--user=" + quoted(r.user)
		if account, ok := strings.CutPrefix(r.user, "system:serviceaccount:"); ok {
			subject = "--serviceaccount=" + account
		}
	}
	role := "clusterrole"
	in := ""
	if like.namespace != "" {
		role, in = "role", "-n "+like.namespace+" "
	}
	const reconcile = " --dry-run=client -o yaml | kubectl auth reconcile -f -"
	return fmt.Sprintf("kubectl %[1]screate %[2]s %[3]s --verb=%[4]s --resource=%[5]s%[7]s && kubectl %[1]screate %[2]sbinding %[3]s --%[2]s=%[3]s %[6]s%[7]s",
		in, role, name, like.verbs, resources, subject, reconcile)
}

// plainWord needs no quotes in a shell.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9@%+:,./_-]+$`)

func quoted(word string) string {
	if plainWord.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
