// Package query asks a database server once what it holds: by the protocol of OVSDB
// (RFC 7047) over any stream, in one transaction that reads all tables at the same moment.
//
// Package ovn follows databases instead, and needs a socket for that.
package query

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
)

// Answer is what a server holds.
type Answer struct {
	// Schema is the server's schema as it told it, Version its version.
	Schema  json.RawMessage
	Version string
	// Columns are the columns that were read, Rows the rows by table and UUID with the
	// columns in OVSDB's notation, numbers as json.Number.
	Columns map[string][]string
	Rows    map[string]map[string]map[string]any
}

// Request says what is read.
type Request struct {
	Database *ovn.Database
	// Tables to read; nil for all. Tables that the server lacks are left out.
	Tables []string
	// Everything also reads tables and columns that this program does not know.
	Everything bool
}

// Read asks. When ctx ends the stream, whose Close must end reads and writes,
// is closed.
func Read(ctx context.Context, conn io.ReadWriteCloser, r Request) (*Answer, error) {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	a, err := read(&session{decoder: json.NewDecoder(conn), encoder: json.NewEncoder(conn)}, r)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return a, err
}

type serverSchema struct {
	Version string
	Tables  map[string]struct {
		Columns map[string]json.RawMessage
	}
}

func read(s *session, r Request) (*Answer, error) {
	a := &Answer{Columns: map[string][]string{}, Rows: map[string]map[string]map[string]any{}}
	if err := s.call("get_schema", []any{r.Database.Name}, &a.Schema); err != nil {
		return nil, err
	}
	var schema serverSchema
	if err := json.Unmarshal(a.Schema, &schema); err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	a.Version = schema.Version
	params := []any{r.Database.Name}
	var tables []string
	for table, t := range schema.Tables {
		known, ok := r.Database.Table(table)
		if !ok && !r.Everything || r.Tables != nil && !slices.Contains(r.Tables, table) {
			continue
		}
		var columns []string
		for c := range t.Columns {
			if r.Everything || hasColumn(known, c) {
				columns = append(columns, c)
			}
		}
		slices.Sort(columns)
		a.Columns[table] = columns
		tables = append(tables, table)
		params = append(params, map[string]any{
			"op": "select", "table": table, "where": []any{}, "columns": append([]string{"_uuid"}, columns...),
		})
	}
	var results []*struct {
		Rows           []map[string]any `json:"rows"`
		Error, Details string
	}
	if err := s.call("transact", params, &results); err != nil {
		return nil, err
	}
	if len(results) < len(tables) {
		return nil, fmt.Errorf("%d of %d tables were answered", len(results), len(tables))
	}
	for i, table := range tables {
		if results[i] == nil || results[i].Error != "" {
			return nil, fmt.Errorf("table %s was not read: %+v", table, results[i])
		}
		rows := make(map[string]map[string]any, len(results[i].Rows))
		for _, row := range results[i].Rows {
			uuid, err := ovn.Elements(row["_uuid"])
			if err != nil || len(uuid) != 1 {
				return nil, fmt.Errorf("table %s has a row without UUID", table)
			}
			delete(row, "_uuid")
			id, _ := uuid[0].Key.(string)
			rows[id] = row
		}
		a.Rows[table] = rows
	}
	return a, nil
}

func hasColumn(t *ovn.Table, name string) bool {
	_, ok := t.Column(name)
	return ok
}

// Content is the answer as rows of the types that this program knows. Rows that cannot be
// read as a whole are named by the error, and in the content as far as they can.
func (a *Answer) Content(d *ovn.Database) (*ovn.Content, error) {
	c := ovn.NewContent(d, a.Version)
	var errs []error
	for table, rows := range a.Rows {
		t, ok := d.Table(table)
		if !ok {
			continue
		}
		for _, name := range a.Columns[table] {
			if col, ok := t.Column(name); ok {
				c.Had(col)
			}
		}
		for uuid, row := range rows {
			if err := c.Add(t, uuid, row); err != nil {
				errs = append(errs, err)
			}
		}
	}
	c.Seal()
	return c, errors.Join(errs...)
}

// session is one conversation.
type session struct {
	decoder *json.Decoder
	encoder *json.Encoder
	calls   int
}

type message struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  json.RawMessage `json:"error"`
}

func (s *session) call(method string, params []any, result any) error {
	s.calls++
	request := map[string]any{"method": method, "params": params, "id": s.calls}
	if err := s.encoder.Encode(request); err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	for {
		var m message
		if err := s.decoder.Decode(&m); err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("the database server ended the connection")
			}
			return fmt.Errorf("%s: %w", method, err)
		}
		if m.Method == "echo" { // the server asks whether we are there
			if err := s.encoder.Encode(map[string]any{"id": m.ID, "result": m.Params, "error": nil}); err != nil {
				return fmt.Errorf("%s: %w", method, err)
			}
			continue
		}
		if m.Method != "" {
			continue // a notification
		}
		if len(m.Error) > 0 && string(m.Error) != "null" {
			return fmt.Errorf("%s is refused: %s", method, m.Error)
		}
		return decode(m.Result, result)
	}
}

// decode keeps numbers as they are written.
func decode(data json.RawMessage, to any) error {
	if raw, ok := to.(*json.RawMessage); ok {
		*raw = data
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	return d.Decode(to)
}
