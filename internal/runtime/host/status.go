package host

import (
	"context"
	"slices"
)

// Status is what is not in place yet; without Reasons everything is.
type Status struct{ Reasons []Reason }

// Ready tells whether pods can be attached and reach everything.
func (s Status) Ready() bool { return len(s.Reasons) == 0 }

// Status is the result of the last look.
func (r *Reconciler) Status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status
}

// Ready tells whether everything is in place, and if not, why.
func (r *Reconciler) Ready() (bool, []Reason) {
	s := r.Status()
	return s.Ready(), s.Reasons
}

// WaitReady returns when everything is in place; the error of an ended ctx is the first
// reason why it is not.
func (r *Reconciler) WaitReady(ctx context.Context) error {
	for {
		r.mu.Lock()
		s, changed := r.status, r.changed
		r.mu.Unlock()
		if s.Ready() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return s.Reasons[0]
		}
	}
}

// report makes the reasons the status, and logs when they are others than before.
func (r *Reconciler) report(reasons []*Reason) {
	var s Status
	for _, p := range reasons {
		if !slices.Contains(s.Reasons, *p) {
			s.Reasons = append(s.Reasons, *p)
		}
	}
	r.mu.Lock()
	same := slices.Equal(s.Reasons, r.status.Reasons)
	old := r.status
	r.status = s
	if !same {
		close(r.changed)
		r.changed = make(chan struct{})
	}
	r.mu.Unlock()
	if same {
		return
	}
	if s.Ready() {
		r.cfg.Log.Info("host is ready")
		return
	}
	for _, p := range s.Reasons {
		if !slices.Contains(old.Reasons, p) {
			r.cfg.Log.Warn("host is not ready", "code", p.Code, "reason", p.Message, "remedy", p.Remedy)
		}
	}
}
