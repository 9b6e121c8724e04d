//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// report joins what the parts of a run left in a directory: report.json there, and
// Markdown on standard output.
func report(args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("bench report", flag.ContinueOnError)
	dir := flags.String("dir", "dist/bench", "where the parts are")
	version := flags.String("version", "", "of ovnkctl")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var r Results
	if err := readJSON(filepath.Join(*dir, "node.json"), &r); err != nil {
		return fmt.Errorf("%w: run test/bench/run node first", err)
	}
	r.Machine.Version = *version
	if err := r.readServices(*dir); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(*dir, "processes-*.json"))
	if err != nil {
		return err
	}
	for _, file := range files {
		var list []process
		if err := readJSON(file, &list); err != nil {
			return err
		}
		for _, p := range list {
			if p.Name == "ovnkctl controller" {
				r.Controller = append(r.Controller, p)
			}
		}
	}
	r.Programs = map[string]Benchmark{}
	for _, file := range []string{"programs.txt", "policies.txt"} {
		some, err := readBenchmarks(filepath.Join(*dir, file))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		maps.Copy(r.Programs, some)
	}
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(*dir, "report.json"), append(raw, '\n'), 0o644); err != nil {
		return err
	}
	w := &markdown{Writer: bufio.NewWriter(stdout)}
	w.all(r)
	return w.Flush()
}

// readServices reads the measurements of services, in sandboxes of one or more sizes.
func (r *Results) readServices(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "services-*.json"))
	if err != nil {
		return err
	}
	for _, file := range files {
		var one Results
		if err := readJSON(file, &one); err != nil {
			return err
		}
		for _, s := range one.Services {
			s.Machine = one.Machine
			r.Services = append(r.Services, s)
		}
	}
	slices.SortFunc(r.Services, func(a, b *Services) int { return b.Nodes - a.Nodes })
	return nil
}

func readJSON(file string, v any) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

// readBenchmarks reads the output of `go test -bench`: the names begin with the package,
// because several packages have a BenchmarkDesired.
func readBenchmarks(file string) (map[string]Benchmark, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	out := map[string]Benchmark{}
	pkg := ""
	for line := range strings.Lines(string(raw)) {
		f := strings.Fields(line)
		if len(f) == 2 && f[0] == "pkg:" {
			pkg = filepath.Base(f[1])
		}
		if len(f) < 4 || !strings.HasPrefix(f[0], "Benchmark") {
			continue
		}
		name := strings.TrimPrefix(f[0], "Benchmark")
		if at := strings.LastIndexByte(name, '-'); at > 0 {
			name = name[:at] // the number of cores
		}
		b := Benchmark{}
		for i := 2; i+1 < len(f); i += 2 {
			if v, err := strconv.ParseFloat(f[i], 64); err == nil {
				b[f[i+1]] = v
			}
		}
		out[pkg+" "+name] = b
	}
	return out, nil
}

// markdown writes the report for people.
type markdown struct{ *bufio.Writer }

func (w *markdown) line(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }

func (w *markdown) all(r Results) {
	m := r.Machine
	w.line("# Benchmarks\n")
	w.line("Written by `make bench` on %s. Compare the columns of one run; another machine, or another load, gives other numbers.\n", m.When)
	w.line("Machine: %d × %s, %d GiB, Linux %s; load average %s. ovnkctl: %s. %s; userspace datapath, one node of a three-node sandbox.\n",
		m.Cores, m.CPU, m.MemGiB, m.Kernel, m.Load, m.Version, m.Versions)
	w.line("The **floor** is measured in turn with ovnkctl on the same node: raw OVSDB JSON-RPC from one process, one row in the " +
		"Northbound database, a veth with two addresses, one port in Open vSwitch, and waiting for `ovn-installed`. " +
		"\"Row there\" is the floor whose Northbound row was made and settled before, which is how pods look to a CNI ADD: the " +
		"node hears of a pod before the container runtime calls. \"At once\" is an ADD sent the moment the API server has " +
		"answered, so that the watch, the address and the row are part of it.\n")
	w.single(r)
	w.bursts(r)
	w.costs(r)
	w.line("## CNI plugin\n")
	w.line("%.2f MiB on disk; per call %.1f ms CPU (p50; p99 %.1f) and at most %.1f MiB RSS, %d calls (target 5 ms, 12 MiB).\n",
		r.Shim.SizeMiB, r.Shim.CPU.P50, r.Shim.CPU.P99, r.Shim.MaxRSSMiB, r.Shim.CPU.N)
	w.memory(r)
	w.restart(r)
	w.services(r)
	w.changeCosts(r)
	w.hostCosts(r)
	w.policies(r)
	w.programs(r)
}

func ratio(a, b float64) string {
	if b == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f", a/b)
}

func (s Stat) String() string { return fmt.Sprintf("%.1f / %.1f / %.1f", s.P50, s.P90, s.P99) }

func (w *markdown) single(r Results) {
	w.line("## ADD one at a time\n")
	w.line("Milliseconds, p50 / p90 / p99, as the CNI server's clients see them (without the plugin's process).\n")
	w.line("| pods on the node | samples | ADD | at once | floor | floor, row there | floor with `ip` | DEL |")
	w.line("|---|---|---|---|---|---|---|---|")
	for _, s := range r.Single {
		w.line("| %d | %d | %s | %s | %s | %s | %s | %s |", s.Pods, s.Add.N, s.Add, s.AddAtOnce, s.Floor, s.FloorKnown, s.FloorIP, s.Del)
	}
	w.line("\n| p50 to floor | ADD : floor (target ≤ 1.0) | ADD : row there | at once : floor | ADD : floor with `ip` |")
	w.line("|---|---|---|---|---|")
	for _, s := range r.Single {
		w.line("| %d pods | %s | %s | %s | %s |", s.Pods, ratio(s.Add.P50, s.Floor.P50), ratio(s.Add.P50, s.FloorKnown.P50),
			ratio(s.AddAtOnce.P50, s.Floor.P50), ratio(s.Add.P50, s.FloorIP.P50))
	}
	w.line("\nStages, p50 / p99; interface, nb and port run beside each other, flows after port.\n")
	w.line("| stage | %s |", strings.Join(each(r.Single, func(s Single) string { return fmt.Sprintf("ADD, %d pods | at once | floor", s.Pods) }), " | "))
	w.line("|---|%s", strings.Repeat("---|", 3*len(r.Single)))
	for _, stage := range cniStages {
		w.line("| %s | %s |", stage, strings.Join(each(r.Single, func(s Single) string {
			return short(s.Stages, stage) + " | " + short(s.StagesOnce, stage) + " | " + short(s.FloorStages, stage)
		}), " | "))
	}
	w.line("")
}

func short(stats map[string]Stat, stage string) string {
	s, ok := stats[stage]
	if !ok {
		return "–"
	}
	return fmt.Sprintf("%.1f / %.1f", s.P50, s.P99)
}

func each[T any](list []T, f func(T) string) (out []string) {
	for _, v := range list {
		out = append(out, f(v))
	}
	return out
}

func (w *markdown) bursts(r Results) {
	w.line("## Bursts\n")
	w.line("All ADDs at the same time, of pods that the node knows; milliseconds.\n")
	w.line("| pods | all installed | floor | floor, row there | installed : floor (target ≤ 1.3 at 50) | installed : row there | ADD p50 / p90 / p99 | all deleted | failed |")
	w.line("|---|---|---|---|---|---|---|---|---|")
	for _, b := range r.Bursts {
		deleted := "–"
		if b.Deleted > 0 {
			deleted = fmt.Sprintf("%.0f", b.Deleted)
		}
		w.line("| %d | %.0f | %.0f | %.0f | %s | %s | %s | %s | %d |", b.Pods, b.Installed, b.Floor, b.FloorKnown,
			ratio(b.Installed, b.Floor), ratio(b.Installed, b.FloorKnown), b.Add, deleted, len(b.Failed))
	}
	w.line("\nMean of each stage: %s.\n", strings.Join(each(r.Bursts, func(b Burst) string {
		var parts []string
		for _, s := range cniStages {
			parts = append(parts, fmt.Sprintf("%s %.0f ms", s, b.StageMeans[s]))
		}
		return fmt.Sprintf("%d pods: %s", b.Pods, strings.Join(parts, ", "))
	}), "; "))
}

func (w *markdown) costs(r Results) {
	w.line("## Cost of a pod\n")
	w.line("Transactions of `ovnkctl node` per pod; page faults of commands that it ran during the CNI calls (0: it ran none; it looks after its host every 30 s, which shows as one lump of some 1,000 if it falls into a call); CPU milliseconds per pod of a burst, from its creation in the API until it is installed.\n")
	w.line("| what | NB, SB, OVS per ADD | NB, OVS per DEL | faults of commands | CPU of `ovnkctl node` | CPU of all daemons |")
	w.line("|---|---|---|---|---|---|")
	row := func(what string, c Costs, del, burst bool) {
		gone := "–"
		if del {
			gone = fmt.Sprintf("%.2f, %.2f", c.NBPerDel, c.OVSPerDel)
		}
		all := 0.0
		for _, ms := range c.CPUPerPod {
			all += ms
		}
		own, together := fmt.Sprintf("%.1f ms", c.CPUPerPod["ovnkctl node"]), fmt.Sprintf("%.1f ms", all)
		if !burst {
			own, together = "–", "–" // the waiting for quiet between samples costs more than the pods
		}
		w.line("| %s | %.2f, %.2f, %.2f | %s | %d | %s | %s |", what, c.NBPerAdd, c.SBPerAdd, c.OVSPerAdd, gone, c.ChildFaults, own, together)
	}
	for _, s := range r.Single {
		row(fmt.Sprintf("one at a time, %d pods", s.Pods), s.Costs, true, false)
	}
	for _, b := range r.Bursts {
		row(fmt.Sprintf("burst of %d", b.Pods), b.Costs, b.Deleted > 0, true)
	}
	w.line("")
}

func (w *markdown) memory(r Results) {
	w.line("## Memory\n")
	w.line("Anonymous MiB (RSS). Targets: node 40 without pods and 60 with 104, controller 30.\n")
	w.line("| process | before | with %d more pods |", r.FullPods)
	w.line("|---|---|---|")
	var idle, full, idleRSS, fullRSS float64
	for _, p := range r.Idle {
		if p.Name == "ovnkctl controller" {
			continue
		}
		at := slices.IndexFunc(r.Full, func(q process) bool { return q.PID == p.PID })
		if at < 0 {
			continue
		}
		q := r.Full[at]
		w.line("| %s | %.1f (%.1f) | %.1f (%.1f) |", p.Name, p.AnonymousMiB, p.RSSMiB, q.AnonymousMiB, q.RSSMiB)
		idle, full, idleRSS, fullRSS = idle+p.AnonymousMiB, full+q.AnonymousMiB, idleRSS+p.RSSMiB, fullRSS+q.RSSMiB
	}
	w.line("| all of the node | %.1f (%.1f) | %.1f (%.1f) |", idle, idleRSS, full, fullRSS)
	for _, p := range r.Controller {
		w.line("| %s | %.1f (%.1f) | – |", p.Name, p.AnonymousMiB, p.RSSMiB)
	}
	w.line("")
	sim := func(nodes, pods int) float64 {
		return r.Programs[fmt.Sprintf("sim Simulated/nodes=%d/pods=%d", nodes, pods)]["MiB-anonymous"]
	}
	if big := sim(2000, 50); big > 0 {
		w.line("Simulated (world, allocator, engine and features in a process of their own against ovsdb-server; after a restart): "+
			"%.1f MiB alone, %.1f with 50 pods, %.1f with 250 pods, %.1f with 2,000 nodes and 50 pods: **%.0f KiB per remote node, %.0f KiB per pod**.\n",
			sim(1, 0), sim(1, 50), sim(1, 250), big, (big-sim(1, 50))*1024/1999, (sim(1, 250)-sim(1, 50))*1024/200)
	}
}

func (w *markdown) restart(r Results) {
	w.line("## Restart of `ovnkctl node`\n")
	if r.Restart != nil {
		w.line("With %d pods: ready after %.0f ms (target 1,500), from the start of its container to `/readyz`; transactions NB %.0f, SB %.0f, OVS %.0f (target 0).\n",
			r.Restart.Pods, r.Restart.Ready, r.Restart.Transactions["nb"], r.Restart.Transactions["sb"], r.Restart.Transactions["ovs"])
	}
	for _, size := range []string{"nodes=1/pods=250", "nodes=2000/pods=50"} {
		if b, ok := r.Programs["sim Simulated/"+size]; ok {
			w.line("Simulated, %s: in sync after %.0f ms, %.0f ms CPU, %.0f transactions; first start %.0f ms and %.0f transactions.\n",
				size, b["ms-restart"], b["cpu-ms-restart"], b["txns-restart"], b["ms-first"], b["txns-first"])
		}
	}
}

func (w *markdown) programs(r Results) {
	if len(r.Programs) == 0 {
		return
	}
	w.line("## Programs\n")
	w.line("Go benchmarks (`test/bench/run programs`).\n")
	w.line("| benchmark | figures |")
	w.line("|---|---|")
	for _, name := range slices.Sorted(maps.Keys(r.Programs)) {
		if strings.HasPrefix(name, policiesBenchmark) {
			continue // has a chapter of its own
		}
		b := r.Programs[name]
		var parts []string
		for _, unit := range slices.Sorted(maps.Keys(b)) {
			parts = append(parts, strconv.FormatFloat(b[unit], 'g', 4, 64)+" "+unit)
		}
		w.line("| %s | %s |", name, strings.Join(parts, ", "))
	}
}
