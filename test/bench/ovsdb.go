//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"net"
	"sync"
	"time"
)

// rawDB is OVSDB's JSON-RPC and nothing else: no model, no cache, no index. It is what
// the floor is measured with.
type rawDB struct {
	name string
	conn net.Conn
	enc  *json.Encoder

	mu      sync.Mutex
	next    int
	pending map[int]chan rawMessage
	updates func(table, uuid string, row map[string]json.RawMessage)
	failed  error
}

type rawMessage struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method,omitempty"`
	Params json.RawMessage `json:"params,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  json.RawMessage `json:"error,omitempty"`
}

type (
	list []any
	dict map[string]any
)

func ovsMap(m map[string]string) list {
	pairs := list{}
	for k, v := range m {
		pairs = append(pairs, list{k, v})
	}
	return list{"map", pairs}
}

func dialDB(name, socket string) (*rawDB, error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("database %s: %w", name, err)
	}
	d := &rawDB{name: name, conn: conn, enc: json.NewEncoder(conn), pending: map[int]chan rawMessage{}}
	go d.read()
	return d, nil
}

func (d *rawDB) close() { _ = d.conn.Close() }

func (d *rawDB) read() {
	dec := json.NewDecoder(d.conn)
	for {
		var m rawMessage
		if err := dec.Decode(&m); err != nil {
			d.mu.Lock()
			d.failed = fmt.Errorf("database %s: %w", d.name, err)
			for id, c := range d.pending {
				delete(d.pending, id)
				close(c)
			}
			d.mu.Unlock()
			return
		}
		switch m.Method {
		case "echo":
			d.mu.Lock()
			_ = d.enc.Encode(dict{"id": m.ID, "result": m.Params, "error": nil})
			d.mu.Unlock()
		case "update":
			d.update(m.Params)
		case "":
			var id int
			if json.Unmarshal(m.ID, &id) != nil {
				continue
			}
			d.mu.Lock()
			c := d.pending[id]
			delete(d.pending, id)
			d.mu.Unlock()
			if c != nil {
				c <- m
			}
		}
	}
}

func (d *rawDB) update(params json.RawMessage) {
	var p []json.RawMessage
	if json.Unmarshal(params, &p) != nil || len(p) != 2 {
		return
	}
	d.deliver(p[1])
}

func (d *rawDB) deliver(tables json.RawMessage) {
	var t map[string]map[string]struct {
		New map[string]json.RawMessage `json:"new"`
	}
	if json.Unmarshal(tables, &t) != nil {
		return
	}
	for table, rows := range t {
		for uuid, row := range rows {
			d.updates(table, uuid, row.New)
		}
	}
}

func (d *rawDB) call(method string, params any) (json.RawMessage, error) {
	c := make(chan rawMessage, 1)
	d.mu.Lock()
	if d.failed != nil {
		d.mu.Unlock()
		return nil, d.failed
	}
	d.next++
	id := d.next
	d.pending[id] = c
	err := d.enc.Encode(dict{"id": id, "method": method, "params": params})
	d.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("database %s: %w", d.name, err)
	}
	m, ok := <-c
	if !ok {
		return nil, d.failed
	}
	if len(m.Error) > 0 && string(m.Error) != "null" {
		return nil, fmt.Errorf("database %s: %s", d.name, m.Error)
	}
	return m.Result, nil
}

// opResult is what one operation returned.
type opResult struct {
	UUID    []string                     `json:"uuid"`
	Count   int                          `json:"count"`
	Rows    []map[string]json.RawMessage `json:"rows"`
	Error   string                       `json:"error"`
	Details string                       `json:"details"`
}

func (d *rawDB) transact(ops ...dict) ([]opResult, error) {
	params := list{d.name}
	for _, op := range ops {
		params = append(params, op)
	}
	raw, err := d.call("transact", params)
	if err != nil {
		return nil, err
	}
	var out []opResult
	if err := json.Unmarshal(raw, &out); err != nil {
		return nil, fmt.Errorf("database %s: %w", d.name, err)
	}
	for _, r := range out {
		if r.Error != "" {
			return nil, fmt.Errorf("database %s: %s: %s", d.name, r.Error, r.Details)
		}
	}
	return out, nil
}

// monitor calls f for each row of the table now and whenever one changes.
func (d *rawDB) monitor(table string, columns []string, f func(uuid string, row map[string]json.RawMessage)) error {
	d.updates = func(_, uuid string, row map[string]json.RawMessage) { f(uuid, row) }
	initial, err := d.call("monitor", list{d.name, "bench", dict{table: dict{"columns": columns}}})
	if err != nil {
		return err
	}
	d.deliver(initial)
	return nil
}

// patience is how long daemons may take to do all they were told: thousands of services
// are work for many seconds on a busy machine.
const patience = 90 * time.Second

// barrier raises a counter and waits until the daemon behind the database has caught up,
// as `ovs-vsctl` and `ovn-nbctl --wait=hv` do.
func (d *rawDB) barrier(table, ask, answer string) error {
	out, err := d.transact(
		dict{"op": "mutate", "table": table, "where": list{}, "mutations": list{list{ask, "+=", 1}}},
		dict{"op": "select", "table": table, "where": list{}, "columns": list{ask}})
	if err != nil {
		return err
	}
	want := intOf(out[1].Rows, ask)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		out, err := d.transact(dict{"op": "select", "table": table, "where": list{}, "columns": list{answer}})
		if err != nil {
			return err
		}
		if intOf(out[0].Rows, answer) >= want {
			return nil
		}
	}
	return fmt.Errorf("database %s: %s did not reach %d within %s: is the daemon behind it alive?", d.name, answer, want, patience)
}

func intOf(rows []map[string]json.RawMessage, column string) (n int64) {
	if len(rows) == 1 {
		_ = json.Unmarshal(rows[0][column], &n)
	}
	return n
}
