package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/ovn/names"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/runtime/feature"
	"github.com/ovnkctl/ovnkctl/internal/world"
)

const (
	// loggingAnnotation says what to log, as OVN-Kubernetes has it.
	loggingAnnotation = "k8s.ovn.org/acl-logging"
	logsPerSecond     = 20 // see Feature
)

var severities = []string{nb.ACLSeverityAlert, nb.ACLSeverityWarning, nb.ACLSeverityNotice, nb.ACLSeverityInfo, nb.ACLSeverityDebug}

// logging is the severities to log by; empty ones mean nothing is.
type logging struct{ Allow, Deny, Pass string }

// logMeter limits each ACL by itself, so that one does not silence others.
func (c *compiler) logMeter() {
	fair := true
	rate := c.LogsPerSecond
	if rate == 0 {
		rate = logsPerSecond
	}
	band := c.out.Add("log-meter-band", &nb.MeterBand{Action: nb.MeterBandActionDrop, Rate: rate})
	c.out.Add("log-meter", &nb.Meter{Name: names.LogMeter, Unit: nb.MeterUnitPktps, Bands: []string{band}, Fair: &fair})
}

// namespaceLogging reads the annotation of a namespace.
func (c *compiler) namespaceLogging(name string, report bool) logging {
	n, ok := c.view.Namespace(name)
	if !ok {
		return logging{}
	}
	l, err := readLogging(n.Annotations[loggingAnnotation])
	if err != nil && report {
		c.badLogging(n.Ref(), err)
	}
	return l
}

func (c *compiler) badLogging(o world.ObjectRef, err error) {
	c.reasons = append(c.reasons, feature.Reason{
		Code: InvalidLogging, Object: o, Message: fmt.Sprintf("annotation %s: %s: this is not logged", loggingAnnotation, strings.ReplaceAll(err.Error(), "\n", "; ")),
		Remedy: fmt.Sprintf(`write for example {"deny":"warning","allow":"info"}; severities are %s`, strings.Join(severities, ", ")),
	})
}

// readLogging reads the annotation. Of one with a fault the rest counts.
func readLogging(text string) (logging, error) {
	var l logging
	if text == "" {
		return l, nil
	}
	var says map[string]string
	if err := json.Unmarshal([]byte(text), &says); err != nil {
		return l, fmt.Errorf("not the JSON that it should be: %w", err)
	}
	verdicts := map[string]*string{"allow": &l.Allow, "deny": &l.Deny, "pass": &l.Pass}
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(says)) {
		severity, verdict := says[key], verdicts[key]
		switch {
		case verdict == nil:
			errs = append(errs, fmt.Errorf("%q is none of allow, deny and pass", key))
		case severity != "" && !slices.Contains(severities, severity):
			errs = append(errs, fmt.Errorf("%q for %q is not a severity", severity, key))
		default:
			*verdict = severity
		}
	}
	return l, errors.Join(errs...)
}

// of is the severity for an action.
func (l logging) of(action nb.ACLAction) string {
	switch action {
	case nb.ACLActionDrop, nb.ACLActionReject:
		return l.Deny
	case nb.ACLActionPass:
		return l.Pass
	}
	return l.Allow
}

// apply has the ACL log if there is a severity for what it does.
func (l logging) apply(a *nb.ACL) {
	if s := l.of(a.Action); s != "" {
		meter := names.LogMeter
		a.Log, a.Severity, a.Meter = true, &s, &meter
	}
}
