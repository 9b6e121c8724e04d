// Package dbfile reads OVSDB database files without a server: what they hold, and how
// much of them is intact.
//
// A file is a log of records, each a line with the length and SHA-1 of the JSON that
// follows it (ovsdb(5)). The first record of a standalone database is its schema, each
// other one a transaction: the rows that it wrote, by table and UUID, null for deleted. A
// member of a Raft cluster logs the same within the entries of Raft's log.
//
// Read counts, Load reads it all, Write makes such a file.
package dbfile

import (
	"bufio"
	"bytes"
	"crypto/sha1" //nolint:gosec // the checksum of the format, not a secret
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

const (
	magicStandalone = "OVSDB JSON"
	magicClustered  = "OVSDB CLUSTER"
	// maxHeader is the longest header line in bytes: magic, length, SHA-1 in hex.
	maxHeader = 100
)

// ErrNotDatabase is a file that does not begin as an OVSDB database.
var ErrNotDatabase = errors.New("not an OVSDB database")

// errContent is a record that was written to its end but does not hold a transaction.
var errContent = errors.New("not a transaction")

// Info is what a file holds.
type Info struct {
	Name, Version string // of the schema
	Clustered     bool   // a member of a Raft cluster; nothing else is read then
	Records       int    // intact records, the schema included
	Rows          int    // live rows of the table asked for
	// Intact is where the last intact record ends, Size the size of the file, in bytes.
	Intact, Size int64
	// Damage is why reading stopped at Intact; nil when the file is whole.
	Damage error
	// Torn is true when the damage is nothing but a last record that was not written to
	// its end, which is what a crash leaves. A server drops it.
	Torn bool
}

// Head reads the schema of a standalone database alone.
func Head(path string) (Info, error) {
	f, err := os.Open(path)
	if err != nil {
		return Info{}, err
	}
	defer f.Close()
	stat, err := f.Stat()
	if err != nil {
		return Info{}, err
	}
	info := Info{Size: stat.Size()}
	schema, n, err := record(bufio.NewReader(f), magicStandalone, info.Size)
	if err == nil {
		err = info.readSchema(schema)
	}
	if err != nil {
		return info, fmt.Errorf("%w: %w", ErrNotDatabase, err)
	}
	info.Intact, info.Records = n, 1
	return info, nil
}

// Read reads a file and counts the live rows of one table. The error is about the
// beginning of the file, without which nothing can be used; later damage is in Info.
func Read(path, table string) (Info, error) {
	f, err := os.Open(path)
	if err != nil {
		return Info{}, err
	}
	defer f.Close()
	stat, err := f.Stat()
	if err != nil {
		return Info{}, err
	}
	info := Info{Size: stat.Size()}
	r := bufio.NewReaderSize(f, 1<<16)
	if start, _ := r.Peek(len(magicClustered)); string(start) == magicClustered {
		info.Clustered = true
		return info, nil
	}
	schema, n, err := record(r, magicStandalone, info.Size)
	if err != nil {
		return info, fmt.Errorf("%w: %w", ErrNotDatabase, err)
	}
	if err := info.readSchema(schema); err != nil {
		return info, fmt.Errorf("%w: %w", ErrNotDatabase, err)
	}
	info.Intact, info.Records = n, 1
	info.Damage = info.readTransactions(r, table)
	if info.Damage != nil && !errors.Is(info.Damage, errContent) {
		info.Torn, err = torn(f, info)
	}
	return info, err
}

func (i *Info) readSchema(data []byte) error {
	var schema struct{ Name, Version string }
	if err := json.Unmarshal(data, &schema); err != nil {
		return fmt.Errorf("schema: %w", err)
	}
	if schema.Name == "" {
		return errors.New("schema has no name")
	}
	i.Name, i.Version = schema.Name, schema.Version
	return nil
}

// readTransactions returns the damage that it met.
func (i *Info) readTransactions(r *bufio.Reader, table string) error {
	live := map[string]bool{}
	needle := []byte(strconv.Quote(table))
	for {
		data, n, err := record(r, magicStandalone, i.Size-i.Intact)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if bytes.Contains(data, needle) { // few records name the table: do not decode the rest
			if err := apply(live, data, table); err != nil {
				return fmt.Errorf("record %d: %w: %w", i.Records, errContent, err)
			}
			i.Rows = len(live)
		}
		i.Intact += n
		i.Records++
	}
}

// apply notes which rows of a table a transaction wrote and deleted.
func apply(live map[string]bool, data []byte, table string) error {
	var tables map[string]json.RawMessage
	if err := json.Unmarshal(data, &tables); err != nil {
		return err
	}
	if tables[table] == nil {
		return nil
	}
	var rows map[string]json.RawMessage
	if err := json.Unmarshal(tables[table], &rows); err != nil {
		return err
	}
	for uuid, row := range rows {
		if string(row) == "null" {
			delete(live, uuid)
		} else {
			live[uuid] = true
		}
	}
	return nil
}

// record reads one record and returns its JSON and its length with the header; io.EOF
// between two records is the end of the file.
func record(r *bufio.Reader, magic string, left int64) ([]byte, int64, error) {
	line, err := r.ReadSlice('\n')
	if errors.Is(err, io.EOF) && len(line) == 0 {
		return nil, 0, io.EOF
	}
	if err != nil || len(line) > maxHeader {
		return nil, 0, fmt.Errorf("no record header in %.40q", line)
	}
	header := string(line)
	rest, ok := strings.CutPrefix(header, magic+" ")
	fields := strings.Fields(rest)
	if !ok || len(fields) != 2 {
		return nil, 0, fmt.Errorf("no record header in %.40q", header)
	}
	length, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil || length < 0 {
		return nil, 0, fmt.Errorf("no record length in %.40q", header)
	}
	if length > left {
		return nil, 0, io.ErrUnexpectedEOF
	}
	data := make([]byte, length)
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, 0, io.ErrUnexpectedEOF
	}
	if sum := sha1.Sum(data); hex.EncodeToString(sum[:]) != fields[1] { //nolint:gosec // see above
		return nil, 0, errors.New("a record does not have its checksum")
	}
	return data, int64(len(header)) + length, nil
}

// torn tells whether what follows the intact part is one unfinished record: no other
// record begins in it.
func torn(f *os.File, info Info) (bool, error) {
	rest := io.NewSectionReader(f, info.Intact, info.Size-info.Intact)
	r := bufio.NewReader(rest)
	for first := true; ; first = false {
		line, err := r.ReadString('\n')
		if !first && strings.HasPrefix(line, magicStandalone+" ") {
			return false, nil
		}
		if errors.Is(err, io.EOF) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
	}
}
