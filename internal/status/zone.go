package status

import (
	"fmt"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
	"github.com/ovnkctl/ovnkctl/internal/ovn/sb"
)

// The programs that changes wait for, by the names of their containers.
const (
	byNorthd     = "ovn-northd"
	byController = "ovn-controller"
)

// overdue is how old a change of a record must be to be behind. The slowest recomputations of a
// zone take some seconds.
const overdue = 10 * time.Second

// newZone reads how far a zone is; nil when the databases do not tell.
func newZone(f *zoneFacts) *Zone {
	if f == nil || f.nb == nil || f.sb == nil {
		return nil
	}
	north, south := ovn.RowsOf[nb.NBGlobal](f.nb), ovn.RowsOf[sb.SBGlobal](f.sb)
	if len(north) == 0 || len(south) == 0 {
		return nil
	}
	z := &Zone{NBCfg: north[0].NbCfg, SBCfg: south[0].NbCfg}
	remote := map[string]bool{}
	for _, c := range ovn.RowsOf[sb.Chassis](f.sb) {
		remote[c.Name] = c.OtherConfig["is-remote"] == "true"
	}
	for _, c := range ovn.RowsOf[sb.ChassisPrivate](f.sb) {
		if !remote[c.Name] { // those of other zones follow other databases
			z.HVCfg = c.NbCfg
		}
	}
	if g := north[0]; g.HvCfg == g.NbCfg && g.HvCfgTimestamp >= g.NbCfgTimestamp {
		z.Milliseconds = g.HvCfgTimestamp - g.NbCfgTimestamp
	}
	return z
}

// judge says what a zone should have done by now: all that was asked for by then. The number
// alone does not tell: something is on its way most of the time.
func (z *Zone) judge(due int) {
	z.Behind, z.By = 0, ""
	switch {
	case z.SBCfg < due:
		z.Behind, z.By = due-min(z.SBCfg, z.HVCfg), byNorthd
	case z.HVCfg < due:
		z.Behind, z.By = due-z.HVCfg, byController
	}
}

// dueOfRecord is what should be done in a record: what northd had heard of some time before.
func dueOfRecord(f *zoneFacts, now time.Time) int {
	due := 0
	for _, g := range ovn.RowsOf[nb.NBGlobal](f.nb) {
		if now.Sub(time.UnixMilli(int64(g.NbCfgTimestamp))) >= overdue {
			due = g.NbCfg
		}
	}
	return due
}

func (z *Zone) note(node string) (Note, bool) {
	if z == nil || z.Behind == 0 {
		return Note{}, false
	}
	return Note{
		Severity: Error, Node: node, Message: fmt.Sprintf("%s does not follow (behind by %d)", z.By, z.Behind),
		Next: "ovnkctl diagnose db node",
	}, true
}
