package annotation

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Bounds of a node's problems: Nodes are read by every program of a cluster, so that a node
// that is not well must not make its Node big.
const (
	MaxZoneProblems = 16
	// MaxZoneMessage is the longest message of a problem in bytes.
	MaxZoneMessage = 256
)

// ZoneProblem is an object that a node cannot put in force.
type ZoneProblem struct {
	Kind, Namespace, Name string // Namespace is empty for objects without one
	Reason                string // CamelCase
	Message               string // for a person
}

// ZoneProblems are a node's problems; the annotation is there while it has any. The agent of
// the node writes it. OVN-Kubernetes has no such annotation.
var ZoneProblems = &Codec[[]ZoneProblem]{"k8s.ovn.org/zone-problems", byNode, encodeZoneProblems, decodeZoneProblems}

type zoneProblem struct {
	Object  string `json:"object"` // kind/[namespace/]name
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

func encodeZoneProblems(problems []ZoneProblem) string {
	if len(problems) == 0 {
		return ""
	}
	list := make([]zoneProblem, 0, len(problems))
	for _, p := range problems {
		object := p.Kind + "/" + p.Name
		if p.Namespace != "" {
			object = p.Kind + "/" + p.Namespace + "/" + p.Name
		}
		list = append(list, zoneProblem{object, p.Reason, p.Message})
	}
	return encodeJSON(list)
}

// reasons are what the API takes for a condition's reason, and for an event's.
var reasons = regexp.MustCompile(`^[A-Z][A-Za-z0-9]{0,63}$`)

func decodeZoneProblems(text string) ([]ZoneProblem, error) {
	var list []zoneProblem
	if err := decodeJSON(text, &list, `a JSON list such as [{"object":"EgressFirewall/web/default","reason":"UnknownDomain","message":"…"}]`); err != nil {
		return nil, err
	}
	if len(list) > MaxZoneProblems {
		return nil, fmt.Errorf("%d problems are more than %d", len(list), MaxZoneProblems)
	}
	out := make([]ZoneProblem, 0, len(list))
	for i, p := range list {
		parts := strings.Split(p.Object, "/")
		var o ZoneProblem
		var err error
		switch {
		case len(parts) == 2:
			o = ZoneProblem{Kind: parts[0], Name: parts[1]}
		case len(parts) == 3:
			o = ZoneProblem{Kind: parts[0], Namespace: parts[1], Name: parts[2]}
		default:
			err = fmt.Errorf("object %q is not kind/name or kind/namespace/name", p.Object)
		}
		if !reasons.MatchString(p.Reason) {
			err = errors.Join(err, fmt.Errorf("reason %q is not one word in CamelCase", p.Reason))
		}
		if len(p.Message) > MaxZoneMessage {
			err = errors.Join(err, fmt.Errorf("a message of %d bytes is longer than %d", len(p.Message), MaxZoneMessage))
		}
		if err != nil {
			return nil, fmt.Errorf("problem %d: %w", i, err)
		}
		o.Reason, o.Message = p.Reason, p.Message
		out = append(out, o)
	}
	return out, nil
}
