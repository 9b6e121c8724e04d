package inspect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/inspect/relay"
	"github.com/ovnkctl/ovnkctl/internal/ovn/dbfile"
)

// knownSchema is what ovn-trace --version says of the Southbound databases that it was built for.
var knownSchema = regexp.MustCompile(`(?m)^DB Schema (\d+(?:\.\d+)*)$`)

// newEnough says whether an ovn-trace knows all that is in a Southbound database. An older one
// reads the database all the same, and takes the actions that it does not know for drops.
func newEnough(ctx context.Context, program, file string) error {
	head, err := dbfile.Head(file)
	if err != nil {
		return err
	}
	said, err := exec.CommandContext(ctx, program, "--version").Output()
	if err != nil {
		var failed *exec.ExitError
		if errors.As(err, &failed) && len(failed.Stderr) > 0 {
			return fmt.Errorf("%s --version: %s", program, relay.LastLine(string(failed.Stderr)))
		}
		return fmt.Errorf("%s --version: %w", program, err)
	}
	m := knownSchema.FindSubmatch(said)
	if m == nil || !olderVersion(string(m[1]), head.Version) {
		return nil // one that does not say is taken at its word
	}
	first, _, _ := strings.Cut(string(said), "\n")
	return &Problem{
		What:       first + " on this machine",
		Why:        fmt.Sprintf("it is older than the OVN of the record: it knows Southbound databases up to %s, this one is %s, and it would say that packets are dropped which are not", m[1], head.Version),
		Next:       "run this command in the ovnkctl image or on a system with a newer OVN; docs/collect.md has a way in a checkout of ovnkctl",
		everywhere: true,
	}
}

// olderVersion compares versions of schemas, such as "20.41.0".
func olderVersion(a, b string) bool {
	return slices.CompareFunc(strings.Split(a, "."), strings.Split(b, "."), func(a, b string) int {
		x, errX := strconv.Atoi(a)
		y, errY := strconv.Atoi(b)
		if errX != nil || errY != nil {
			return 0
		}
		return cmp.Compare(x, y)
	}) < 0
}
