package tracer

import "golang.org/x/sys/unix"

// adopt makes this process the parent of daemons that its programs leave behind. Else that is
// the first process of the container, which does not expect them: ended ones would stay.
func adopt() { _ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }

// reap takes leave of a daemon that was killed.
func reap(pid int) {
	for {
		if _, err := unix.Wait4(pid, nil, 0, nil); err != unix.EINTR { //nolint:errorlint // an errno as it is
			return
		}
	}
}
