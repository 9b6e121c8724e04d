package dbfile

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
)

// maxProblems bounds how many rows that cannot be read are named one by one.
const maxProblems = 10

// ErrUnknownDatabase is a database of neither OVN nor Open vSwitch.
var ErrUnknownDatabase = errors.New("a database of neither OVN nor Open vSwitch")

// Load reads what a database held at the end of its file of size bytes, which is standalone
// or a member of a Raft cluster. Damage behind the beginning is in Info, and the content is
// that of the records before it. Rows that cannot be read as a whole are problems, and in
// the content as far as they can.
func Load(r io.Reader, size int64) (*ovn.Content, Info, []error, error) {
	l := &loader{r: bufio.NewReaderSize(r, 1<<16), magic: magicStandalone, info: Info{Size: size}}
	if start, _ := l.r.Peek(len(magicClustered)); string(start) == magicClustered {
		l.magic, l.info.Clustered = magicClustered, true
	}
	data, n, err := record(l.r, l.magic, size)
	if err == nil {
		err = l.first(data)
	}
	if err != nil {
		return nil, l.info, nil, fmt.Errorf("%w: %w", ErrNotDatabase, err)
	}
	if l.database == nil {
		return nil, l.info, nil, fmt.Errorf("%w: %s", ErrUnknownDatabase, l.info.Name)
	}
	l.info.Intact, l.info.Records = n, 1
	for err == nil {
		if data, n, err = record(l.r, l.magic, size-l.info.Intact); err != nil {
			break
		}
		if err = l.next(data); err != nil {
			err = fmt.Errorf("record %d: %w: %w", l.info.Records, errContent, err)
			break
		}
		l.info.Intact += n
		l.info.Records++
	}
	if !errors.Is(err, io.EOF) {
		l.info.Damage, l.info.Torn = err, errors.Is(err, io.ErrUnexpectedEOF)
	}
	content, problems := l.content()
	return content, l.info, problems, nil
}

// loader replays a file.
type loader struct {
	r     *bufio.Reader
	magic string
	info  Info

	schema   fileSchema
	database *ovn.Database
	rows     map[string]map[string]row // by table and UUID
	// log has the entries of Raft that may still be replaced: a new leader overwrites what
	// it did not know of. It is nil in standalone files.
	log []entry
	// base is the index of Raft before the first entry of log.
	base uint64
}

// row is the columns of a row in OVSDB's notation, or a *changing.
type row map[string]any

// fileSchema is what of a file's schema is needed to replay it.
type fileSchema struct {
	Name, Version string
	Tables        map[string]struct {
		Columns map[string]struct{ Type columnType }
	}
}

// columnType knows whether a column holds exactly one value: differences replace it.
type columnType struct{ scalar bool }

func (t *columnType) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		t.scalar = true
		return nil
	}
	var s struct {
		Value    json.RawMessage
		Min, Max any
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	isOne := func(v any) bool { return v == nil || v == 1.0 }
	t.scalar = s.Value == nil && isOne(s.Min) && isOne(s.Max)
	return nil
}

func (l *loader) begin(data []byte) error {
	var s fileSchema
	if err := json.Unmarshal(data, &s); err != nil {
		return fmt.Errorf("schema: %w", err)
	}
	if s.Name == "" {
		return errors.New("schema has no name")
	}
	l.schema, l.rows = s, map[string]map[string]row{}
	l.info.Name, l.info.Version = s.Name, s.Version
	l.database, _ = ovn.DatabaseNamed(s.Name)
	return nil
}

// entry is a record of Raft's log.
type entry struct {
	Index uint64            `json:"index"`
	Data  []json.RawMessage `json:"data"`
}

func (l *loader) first(data []byte) error {
	if l.magic == magicStandalone {
		return l.begin(data)
	}
	var header struct {
		Name  string            `json:"name"`
		Index uint64            `json:"prev_index"`
		Data  []json.RawMessage `json:"prev_data"`
	}
	if err := json.Unmarshal(data, &header); err != nil {
		return fmt.Errorf("header: %w", err)
	}
	if header.Data == nil {
		return fmt.Errorf("the server was about to join the cluster of %s, and holds nothing yet", header.Name)
	}
	l.base = header.Index
	return l.enter(header.Data)
}

// enter applies the data of an entry: a schema or null, which resets, and a transaction or
// null.
func (l *loader) enter(data []json.RawMessage) error {
	if len(data) != 2 {
		return errors.New("an entry's data is not a schema and a transaction")
	}
	if !isNull(data[0]) {
		if err := l.begin(data[0]); err != nil {
			return err
		}
	}
	if l.rows == nil {
		return errors.New("a transaction comes before the schema")
	}
	if isNull(data[1]) {
		return nil
	}
	return l.apply(data[1])
}

func isNull(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }

func (l *loader) next(data []byte) error {
	if l.magic == magicStandalone {
		return l.apply(data)
	}
	if !bytes.Contains(data, []byte(`"index"`)) {
		return nil // of Raft's own: terms, votes, notes
	}
	var e entry
	if err := json.Unmarshal(data, &e); err != nil {
		return err
	}
	if e.Index == 0 || e.Data != nil && len(e.Data) != 2 {
		return errors.New("no entry of Raft's log")
	}
	// A leader that begins a new term replaces what others did not get to know of.
	for len(l.log) > 0 && l.log[len(l.log)-1].Index >= e.Index {
		l.log = l.log[:len(l.log)-1]
	}
	if e.Index > l.base {
		l.log = append(l.log, e)
	}
	return nil
}

// content is the end: the rows, as models.
func (l *loader) content() (*ovn.Content, []error) {
	for _, e := range l.log {
		if e.Data == nil {
			continue // servers that came or went
		}
		if err := l.enter(e.Data); err != nil {
			l.info.Damage = fmt.Errorf("entry %d of Raft's log: %w: %w", e.Index, errContent, err)
			break
		}
	}
	l.log = nil
	c := ovn.NewContent(l.database, l.info.Version)
	var problems []error
	left := 0
	for _, t := range l.database.Tables() {
		for name := range l.schema.Tables[t.Name].Columns {
			if col, ok := t.Column(name); ok {
				c.Had(col)
			}
		}
		for uuid, r := range l.rows[t.Name] {
			l.info.Rows++
			if err := c.Add(t, uuid, r.settled()); err == nil {
				continue
			} else if len(problems) < maxProblems {
				problems = append(problems, err)
			} else {
				left++
			}
		}
	}
	slices.SortFunc(problems, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	if left > 0 {
		problems = append(problems, fmt.Errorf("%d more rows cannot be read as a whole", left))
	}
	c.Seal()
	return c, problems
}

// apply applies a transaction.
func (l *loader) apply(data []byte) error {
	var parts map[string]json.RawMessage
	if err := json.Unmarshal(data, &parts); err != nil {
		return err
	}
	isDiff := string(parts["_is_diff"]) == "true"
	for table, part := range parts {
		if strings.HasPrefix(table, "_") {
			continue
		}
		if _, known := l.database.Table(table); !known {
			continue
		}
		var changes map[string]row
		decoder := json.NewDecoder(bytes.NewReader(part))
		decoder.UseNumber()
		if err := decoder.Decode(&changes); err != nil {
			return fmt.Errorf("table %s: %w", table, err)
		}
		if l.rows[table] == nil {
			l.rows[table] = map[string]row{}
		}
		for uuid, change := range changes {
			if err := l.change(table, uuid, change, isDiff); err != nil {
				return fmt.Errorf("table %s, row %s: %w", table, uuid, err)
			}
		}
	}
	return nil
}

func (l *loader) change(table, uuid string, change row, isDiff bool) error {
	rows := l.rows[table]
	if change == nil {
		delete(rows, uuid)
		return nil
	}
	old, exists := rows[uuid]
	if !exists {
		rows[uuid] = change
		return nil
	}
	for column, v := range change {
		if !isDiff || l.schema.Tables[table].Columns[column].Type.scalar {
			old[column] = v
			continue
		}
		c, ok := old[column].(*changing)
		if !ok {
			var err error
			if c, err = newChanging(old[column]); err != nil {
				return fmt.Errorf("column %s: %w", column, err)
			}
			old[column] = c
		}
		if err := c.apply(v); err != nil {
			return fmt.Errorf("column %s: %w", column, err)
		}
	}
	return nil
}

// settled is the row in OVSDB's notation.
func (r row) settled() map[string]any {
	for column, v := range r {
		if c, ok := v.(*changing); ok {
			r[column] = c.notation()
		}
	}
	return r
}

// changing is a set or map that differences are applied to: a large set that gets one more
// element a thousand times is read once.
type changing struct {
	isMap    bool
	elements map[any]any // of a set, the values are nil
}

func newChanging(v any) (*changing, error) {
	c := &changing{elements: map[any]any{}}
	if v == nil {
		return c, nil // left out: empty
	}
	elements, err := ovn.Elements(v)
	if err != nil {
		return nil, err
	}
	c.isMap = isMap(v)
	for _, e := range elements {
		c.elements[e.Key] = e.Value
	}
	return c, nil
}

func isMap(v any) bool {
	list, ok := v.([]any)
	return ok && len(list) == 2 && list[0] == "map"
}

// apply applies a difference: elements that are in one and not in the other change sides;
// a map's pair with another value replaces.
func (c *changing) apply(v any) error {
	elements, err := ovn.Elements(v)
	if err != nil {
		return err
	}
	c.isMap = c.isMap || isMap(v)
	for _, e := range elements {
		if was, in := c.elements[e.Key]; in && was == e.Value {
			delete(c.elements, e.Key)
		} else {
			c.elements[e.Key] = e.Value
		}
	}
	return nil
}

// notation is the value as OVSDB writes it.
func (c *changing) notation() any {
	list := make([]any, 0, len(c.elements))
	for k, v := range c.elements {
		if c.isMap {
			list = append(list, []any{k, v})
		} else {
			list = append(list, k)
		}
	}
	slices.SortFunc(list, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	if c.isMap {
		return []any{"map", list}
	}
	return []any{"set", list}
}
