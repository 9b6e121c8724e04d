package explain

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/sb"
)

// aclPriorityOffset is what ovn-northd adds to an ACL's priority to get its flows'
// (OVN_ACL_PRI_OFFSET).
const aclPriorityOffset = 1000

// aclTier is how the flows of an ACL begin where there are several tiers.
var aclTier = regexp.MustCompile(`^reg\d+\[\d+\.\.\d+\] == (\d+) && `)

// FlowKey is what a logical flow has of the row that it was made of.
type FlowKey struct {
	Hint     string // external_ids:stage-hint, the first digits of the row's UUID
	Stage    string // e.g. ls_out_acl_eval
	Priority int
	Match    string
}

// KeyOf is what finds a logical flow's row.
func KeyOf(f *sb.LogicalFlow) FlowKey {
	return FlowKey{Hint: f.ExternalIDs["stage-hint"], Stage: f.ExternalIDs["stage-name"], Priority: f.Priority, Match: f.Match}
}

// OfFlow finds the row that a logical flow was made of: the one that its hint names, or else
// the ACL that the flow says. When ovn-northd (25.03) computes all anew, it keeps the flow of
// an ACL that was replaced by an equal one, as happens to a policy that is deleted and made
// again, with the hint of the row that is gone.
func (x *Index) OfFlow(f FlowKey) (*Entry, bool) {
	if found := x.ByPrefix(f.Hint); len(found) > 0 {
		return found[0], true
	}
	if f.Hint == "" || !strings.Contains(f.Stage, "_acl_") {
		return nil, false
	}
	for _, e := range x.entries {
		if acl, is := e.Model.(*nb.ACL); is && f.says(acl) {
			return e, true
		}
	}
	return nil, false
}

// says tells whether an ACL makes such a flow (ovn-northd(8), "ACL evaluation").
func (f FlowKey) says(acl *nb.ACL) bool {
	direction := nb.ACLDirectionFromLport
	if strings.HasPrefix(f.Stage, "ls_out_") {
		direction = nb.ACLDirectionToLport
	}
	tier := 0
	if m := aclTier.FindStringSubmatch(f.Match); m != nil {
		tier, _ = strconv.Atoi(m[1]) // digits
	}
	return acl.Direction == direction && acl.Priority+aclPriorityOffset == f.Priority && acl.Tier == tier &&
		(acl.Options["apply-after-lb"] == "true") == strings.Contains(f.Stage, "_after_lb_") &&
		strings.HasSuffix(f.Match, "("+acl.Match+")")
}
