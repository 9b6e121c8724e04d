package dns

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	// journalSlack is how many lines more than twice those needed the journal may have.
	journalSlack = 1024
	journalMode  = 0o600
)

// fact is that a name has an address until a time.
type fact struct {
	name  string
	addr  netip.Addr
	until time.Time
}

// journal remembers facts over a restart, one a line:
//
//	<Unix seconds> <name> <address>
//
// The last line about a name and address counts. What a crash left of a line is passed over.
type journal struct {
	path  string
	file  *os.File
	lines int
}

// openJournal reads what there is.
func openJournal(path string) (*journal, []fact, error) {
	j := &journal{path: path}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, nil, fmt.Errorf("journal of domain names: %w", err)
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return j, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("journal of domain names: %w", err)
	}
	defer f.Close()
	facts := map[string]fact{}
	var order []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		o, ok := parseFact(lines.Text())
		if !ok {
			continue
		}
		key := o.name + " " + o.addr.String()
		if _, known := facts[key]; !known {
			order = append(order, key)
		}
		facts[key] = o
	}
	out := make([]fact, 0, len(order))
	for _, key := range order {
		out = append(out, facts[key])
	}
	return j, out, nil
}

func parseFact(line string) (fact, bool) {
	fields := strings.Fields(line)
	if len(fields) != 3 || !usable(fields[1]) {
		return fact{}, false
	}
	seconds, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil {
		return fact{}, false
	}
	addr, err := netip.ParseAddr(fields[2])
	return fact{name: fields[1], addr: addr, until: time.Unix(seconds, 0)}, err == nil && addr.Zone() == ""
}

func (o fact) line() string {
	return fmt.Sprintf("%d %s %s\n", o.until.Unix(), o.name, o.addr)
}

// add appends facts in one write.
func (j *journal) add(facts []fact) error {
	if j == nil || len(facts) == 0 {
		return nil
	}
	if j.file == nil {
		return fmt.Errorf("journal %s of domain names is not open", j.path)
	}
	var text strings.Builder
	for _, o := range facts {
		text.WriteString(o.line())
	}
	if _, err := j.file.WriteString(text.String()); err != nil {
		return fmt.Errorf("journal of domain names: %w", err)
	}
	j.lines += len(facts)
	return nil
}

// bloated tells whether to write the journal anew, when so many facts are needed.
func (j *journal) bloated(needed int) bool { return j != nil && j.lines > 2*needed+journalSlack }

// rewrite replaces the journal.
func (j *journal) rewrite(facts []fact) error {
	if j == nil {
		return nil
	}
	next, err := os.OpenFile(j.path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, journalMode)
	if err != nil {
		return fmt.Errorf("journal of domain names: %w", err)
	}
	was := *j
	j.file, j.lines = next, 0
	err = j.add(facts)
	if err == nil {
		err = os.Rename(next.Name(), j.path)
	}
	if err != nil {
		_ = next.Close()
		*j = was
		return fmt.Errorf("journal of domain names not written anew: %w", err)
	}
	return was.close()
}

func (j *journal) close() error {
	if j == nil || j.file == nil {
		return nil
	}
	return j.file.Close()
}
