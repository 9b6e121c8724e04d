package dbfile

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // the checksum of the format, not a secret
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// Write writes a standalone database that holds these rows, by table and UUID with columns
// in OVSDB's notation. OVSDB servers and tools read it, too.
func Write(w io.Writer, schema json.RawMessage, rows map[string]map[string]map[string]any, when time.Time) error {
	if err := writeRecord(w, schema); err != nil {
		return err
	}
	transaction := map[string]any{"_date": when.UnixMilli(), "_comment": "ovnkctl: the database at this moment"}
	for table, content := range rows {
		if len(content) == 0 {
			continue
		}
		kept := make(map[string]map[string]any, len(content))
		for uuid, row := range content {
			kept[uuid] = withoutEmpty(row)
		}
		transaction[table] = kept
	}
	return writeRecord(w, transaction)
}

func writeRecord(w io.Writer, v any) error {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b) // ends the line, which is part of the record
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return err
	}
	sum := sha1.Sum(b.Bytes()) //nolint:gosec // see above
	if _, err := fmt.Fprintf(w, "%s %d %x\n", magicStandalone, b.Len(), sum); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}

// withoutEmpty leaves out empty sets and maps, which are what a column left out is. An empty
// string or a zero may be the one element of an optional column, and stays.
func withoutEmpty(row map[string]any) map[string]any {
	out := make(map[string]any, len(row))
	for column, v := range row {
		if list, ok := v.([]any); ok && len(list) == 2 {
			if content, ok := list[1].([]any); ok && len(content) == 0 {
				continue
			}
		}
		out[column] = v
	}
	return out
}
