//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"syscall"
	"time"
)

// containerID finds the container in a cgroup path of containerd.
var containerID = regexp.MustCompile(`[0-9a-f]{64}`)

// restart ends the node's program and starts its container again in the place of the
// kubelet, which is stopped and would only add its own delay.
func (b *bench) restart(ctx context.Context) (*Restart, error) {
	b.log.Info("restart")
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", b.agent))
	if err != nil {
		return nil, err
	}
	ids := containerID.FindAllString(string(raw), -1)
	if len(ids) == 0 {
		return nil, fmt.Errorf("process %d is in no container: %s", b.agent, raw)
	}
	id := ids[len(ids)-1]
	if err := syscall.Kill(b.agent, syscall.SIGTERM); err != nil {
		return nil, err
	}
	// containerd deletes the task when its process has ended; only then can it start again.
	var start time.Time
	err = until(ctx, "restart of the node's program", func() (bool, error) {
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", b.agent)); err == nil {
			return false, errors.New("it does not end")
		}
		start = time.Now()
		// What it logs has nobody to read it: a pipe would fill, and hold it up.
		out, err := exec.CommandContext(ctx, "ctr", "-n", "k8s.io", "tasks", "start", "-d", "--null-io", id).CombinedOutput()
		if err != nil {
			return false, fmt.Errorf("ctr tasks start: %w: %s", err, out)
		}
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	for !nodeReady() {
		if time.Since(start) > time.Minute {
			return nil, errors.New("the node's program is not ready a minute after its restart")
		}
		time.Sleep(2 * time.Millisecond)
	}
	took := time.Since(start)
	b.task = id
	if b.agent, err = find("ovnkctl", "node"); err != nil {
		return nil, err
	}
	time.Sleep(3 * time.Second) // a late write would be one, too
	m, err := scrape()
	if err != nil {
		return nil, err
	}
	r := &Restart{Ready: millis(took), Transactions: map[string]float64{}}
	for _, db := range []string{"nb", "sb", "ovs"} {
		r.Transactions[db] = m.transactions(db)
	}
	return r, nil
}

// handBack ends what restart started: the kubelet knows only that the container has ended,
// and starts it again.
func (b *bench) handBack() error {
	if b.task == "" {
		return nil
	}
	out, err := exec.Command("ctr", "-n", "k8s.io", "tasks", "delete", "-f", b.task).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ctr tasks delete: %w: %s", err, out)
	}
	return nil
}
