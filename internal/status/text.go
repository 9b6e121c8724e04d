package status

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/inspect"
	"github.com/ovnkctl/ovnkctl/internal/output"
)

// Text implements output.Textual: the answer, what runs, the nodes, and what is wrong.
func (s *Status) Text(w io.Writer, style output.Style, wide bool) error {
	b := bufio.NewWriter(w)
	fmt.Fprintln(b, s.headline(style))
	if s.Source.Kind != inspect.Live {
		fmt.Fprintf(b, "%s\n", style.Dim(fmt.Sprintf("as of %s, from %s", s.Time.Format(time.RFC3339), s.Source.Name)))
	}
	if line := s.findingsLine(style); line != "" {
		fmt.Fprintln(b, line)
	}
	for _, t := range []output.Table{s.componentTable(style), s.nodeTable(style, wide), s.containerTable(style, wide)} {
		if len(t.Rows) == 0 {
			continue
		}
		t.Before = []string{""}
		if err := t.Write(b, style); err != nil {
			return err
		}
	}
	writeNotes(b, s.Notes, style)
	for _, l := range output.ProblemLines(inspect.Errors(s.Problems)) {
		fmt.Fprintln(b, l)
	}
	return b.Flush()
}

func writeNotes(b *bufio.Writer, notes []Note, style output.Style) {
	for i := range notes {
		n := &notes[i]
		mark := style.Bad
		if n.Severity == Warning {
			mark = style.Warn
		}
		fmt.Fprintf(b, "\n%s %s\n", mark(string(n.Severity)), n)
		if n.Next != "" {
			fmt.Fprintf(b, "  → %s\n", n.Next)
		}
	}
}

func (s *Status) headline(style output.Style) string {
	ready, pods, networked := 0, 0, 0
	for i := range s.Nodes {
		n := &s.Nodes[i]
		pods, networked = pods+n.Pods, networked+n.Networked
		if n.Ready {
			ready++
		}
	}
	state := style.Good("ready")
	switch {
	case !s.Ready:
		state = style.Bad("not ready")
	case len(s.Problems) > 0:
		state = style.Warn("ready, as far as could be read")
	}
	text := fmt.Sprintf("%s: %d of %d nodes", state, ready, len(s.Nodes))
	if pods > 0 {
		text += fmt.Sprintf(", %d of %d pods have their network", networked, pods)
	}
	return text
}

// findingsLine says how much there is for diagnose to tell.
func (s *Status) findingsLine(style output.Style) string {
	f := s.Findings
	if f == nil {
		return ""
	}
	command := "ovnkctl diagnose"
	if s.Source.Kind != inspect.Live {
		command += " --from " + s.Source.Name
	}
	var parts []string
	for _, n := range []struct {
		count int
		name  string
		style func(string) string
	}{{f.Errors, "error", style.Bad}, {f.Warnings, "warning", style.Warn}, {f.Infos, "info", style.Dim}} {
		if n.count > 0 {
			parts = append(parts, n.style(output.Counted(n.count, n.name)))
		}
	}
	switch {
	case len(parts) > 0 && f.Unknown != "":
		return fmt.Sprintf("findings: %s, and maybe more; '%s' says what and why", strings.Join(parts, ", "), command)
	case len(parts) > 0:
		return fmt.Sprintf("findings: %s; '%s' says what and why", strings.Join(parts, ", "), command)
	case f.Unknown != "":
		return style.Dim("findings: not known: " + f.Unknown)
	}
	return "findings: none"
}

func (s *Status) componentTable(style output.Style) output.Table {
	t := output.Table{Header: []string{"COMPONENT", "READY", "IMAGE"}}
	for _, c := range s.Components {
		var images []string
		for _, v := range c.Images {
			images = append(images, v.Version)
		}
		t.Rows = append(t.Rows, []string{c.Name, share(style, c.Ready, c.Desired), strings.Join(images, ", ")})
	}
	return t
}

// share is "2/3", marked when it is not all; nothing for nothing.
func share(style output.Style, some, all int) string {
	if all == 0 {
		return ""
	}
	text := fmt.Sprintf("%d/%d", some, all)
	if some < all {
		return style.Bad(text)
	}
	return text
}

func (s *Status) nodeTable(style output.Style, wide bool) output.Table {
	t := output.Table{Header: []string{"NODE", "STATE", "CONTAINERS", "BEHIND", "PODS", "OVNKCTL", "OVN", "OVS"}}
	if wide {
		t.Header = append(t.Header, "NB/SB/HV", "LAST", "NORTHD", "KUBELET")
	}
	for i := range s.Nodes {
		n := &s.Nodes[i]
		state, containers, behind := style.Good("ready"), 0, "unknown"
		if !n.Ready {
			state = style.Bad("not ready")
		}
		for _, c := range n.Containers {
			if c.Ready {
				containers++
			}
		}
		cfg, last := "", ""
		if z := n.Zone; z != nil {
			behind = fmt.Sprint(z.Behind)
			cfg = fmt.Sprintf("%d/%d/%d", z.NBCfg, z.SBCfg, z.HVCfg)
			if z.Milliseconds > 0 {
				last = fmt.Sprintf("%d ms", z.Milliseconds)
			}
		}
		v := &n.Versions
		row := []string{
			n.Name, state, share(style, containers, len(n.Containers)), behind, share(style, n.Networked, n.Pods),
			v.Ovnkctl, cmp.Or(v.Controller, v.Northd), v.OVS,
		}
		if wide {
			row = append(row, cfg, last, v.Northd, v.Kubelet)
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// containerTable is for those who want to see all of them.
func (s *Status) containerTable(style output.Style, wide bool) output.Table {
	t := output.Table{Header: []string{"NODE", "POD", "CONTAINER", "STATE", "RESTARTS"}}
	if !wide {
		return t
	}
	for i := range s.Nodes {
		for _, c := range s.Nodes[i].Containers {
			state := c.State
			if !c.Ready {
				state = style.Bad(state)
			}
			t.Rows = append(t.Rows, []string{s.Nodes[i].Name, c.Pod, c.Name, state, fmt.Sprint(c.Restarts)})
		}
	}
	return t
}
