package install

import (
	"fmt"
	"strings"
)

// say writes a line of progress.
func (i *Installer) say(format string, args ...any) {
	fmt.Fprintf(i.Progress, format+"\n", args...)
}

func (i *Installer) describe(f *facts) {
	i.say("Kubernetes %s with %s", "v"+f.version.String(), count(len(f.nodes), "node"))
}

func (i *Installer) describeDetected(all []Detection) {
	for _, d := range all {
		i.say("Detected %s=%s (%s)", d.Path, d.Value, d.Source)
	}
}

func (i *Installer) describeFindings(all []Finding) {
	for _, f := range all {
		i.say("%s%s %s: %s\n  → %s", strings.ToUpper(string(f.Level[:1])), f.Level[1:], f.Check, f.What, f.Next)
	}
}

func (i *Installer) describePlan(changes []Change) {
	n := map[Action]int{}
	for _, c := range changes {
		n[c.Action]++
	}
	i.say("Namespace %s: %d to create, %d to change, %d to remove", i.Namespace, n[Create], n[Modify], n[Remove])
	WriteChanges(i.Progress, changes)
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
