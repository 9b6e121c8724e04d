package cgroup

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	tmpfs  = "30 20 0:26 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
	pure   = "30 20 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"
	hybrid = "44 30 0:40 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
)

func v1(dir, options string) string {
	return "31 30 0:27 / /sys/fs/cgroup/" + dir + " rw,relatime shared:3 - cgroup cgroup rw," + options + "\n"
}

func TestParse(t *testing.T) {
	t.Parallel()
	split := tmpfs + v1("cpu", "cpu") + v1("memory", "memory") + v1("pids", "pids") + v1("devices", "devices")
	tests := map[string]struct {
		in   string
		want Layout
		err  string
	}{
		"version 2": {in: pure, want: Layout{V2: true}},
		"version 1 with joined controllers": {
			in: tmpfs + v1("cpu,cpuacct", "cpu,cpuacct") + v1("memory", "memory") + v1("pids", "pids") + v1("devices", "devices") +
				v1("systemd", "xattr,release_agent=/lib/agent,name=systemd"),
			want: Layout{Hierarchies: []Hierarchy{
				{"cpu,cpuacct", []string{"cpu", "cpuacct"}},
				{"memory", []string{"memory"}},
				{"pids", []string{"pids"}},
				{"devices", []string{"devices"}},
				{"systemd", []string{"name=systemd"}},
			}},
		},
		"hybrid counts as version 1": {
			in: split + hybrid,
			want: Layout{Hierarchies: []Hierarchy{
				{"cpu", []string{"cpu"}},
				{"memory", []string{"memory"}},
				{"pids", []string{"pids"}},
				{"devices", []string{"devices"}},
			}},
		},
		"controller missing": {in: tmpfs + v1("cpu", "cpu") + v1("pids", "pids") + v1("devices", "devices"), err: "memory controller"},
		"nothing mounted":    {in: "22 27 0:21 / /proc rw - proc proc rw\n", err: "Kubernetes cannot run here"},
		"mounted elsewhere":  {in: "1 1 0:1 / /var/chroot/sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n", err: "no cgroup hierarchy"},
	}
	for name, tt := range tests {
		got, err := Parse(strings.NewReader(tt.in))
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: error %v, want %q", name, err, tt.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestDirsPerHierarchy(t *testing.T) {
	t.Parallel()
	two := Layout{V2: true}
	if diff := cmp.Diff([]string{"/sys/fs/cgroup/ovnksb/node1"}, two.dirs("node1")); diff != "" {
		t.Error(diff)
	}
	one := Layout{Hierarchies: []Hierarchy{{Dir: "cpu"}, {Dir: "systemd"}}}
	want := []string{"/sys/fs/cgroup/cpu/ovnksb/node1", "/sys/fs/cgroup/systemd/ovnksb/node1"}
	if diff := cmp.Diff(want, one.dirs("node1")); diff != "" {
		t.Error(diff)
	}
}
