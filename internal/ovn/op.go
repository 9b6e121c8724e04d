package ovn

import (
	"fmt"
	"maps"
	"reflect"

	"github.com/ovn-kubernetes/libovsdb/model"
	"github.com/ovn-kubernetes/libovsdb/ovsdb"
)

// Insert makes an operation that adds the row m. id names the new row within the
// transaction: other operations refer to it by putting id where the UUID would be; it
// consists of letters, digits and underscores. Columns that the server lacks are left
// out when the transaction is sent.
func Insert(m model.Model, id string) ovsdb.Operation {
	t := mustTable(m)
	v := reflect.ValueOf(m).Elem()
	row := ovsdb.Row{}
	for _, c := range t.Columns {
		if p := c.at(v); !EmptyValue(p) {
			row[c.Name] = c.wire(p)
		}
	}
	return ovsdb.Operation{Op: ovsdb.OperationInsert, Table: t.Name, Row: row, UUIDName: id}
}

// Update makes an operation that sets columns of a row to what m holds.
func Update(m model.Model, uuid string, columns ...string) ovsdb.Operation {
	t := mustTable(m)
	row := make(ovsdb.Row, len(columns))
	for _, name := range columns {
		c, ok := t.Column(name)
		if !ok {
			panic(fmt.Sprintf("table %s has no column %s", t.Name, name))
		}
		row[name] = c.wire(c.Value(m))
	}
	return ovsdb.Operation{Op: ovsdb.OperationUpdate, Table: t.Name, Row: row, Where: whereUUID(uuid)}
}

// Delete makes an operation that deletes a row of a table. Rows of tables that are not
// Root cannot be deleted while something refers to them: remove the reference.
func Delete(t *Table, uuid string) ovsdb.Operation {
	return ovsdb.Operation{Op: ovsdb.OperationDelete, Table: t.Name, Where: whereUUID(uuid)}
}

// Mutation changes elements of one set or map column.
type Mutation struct {
	Column *Column
	// Remove are elements of a set, or keys of a map.
	Remove []string
	// Insert are elements of a set.
	Insert []string
	// Put are entries of a map of strings; they replace what is there.
	Put map[string]string
}

// Mutate makes an operation that changes elements of columns of one row.
func Mutate(t *Table, uuid string, ms ...Mutation) ovsdb.Operation {
	op := ovsdb.Operation{Op: ovsdb.OperationMutate, Table: t.Name, Where: whereUUID(uuid)}
	add := func(c *Column, how ovsdb.Mutator, v any) {
		op.Mutations = append(op.Mutations, *ovsdb.NewMutation(c.Name, how, v))
	}
	for _, m := range ms {
		remove := m.Remove
		for k := range m.Put { // insert does not replace the value of a key that is there
			remove = append(remove, k)
		}
		if len(remove) > 0 {
			add(m.Column, ovsdb.MutateOperationDelete, wireSet(remove, m.Column.keyUUID))
		}
		if len(m.Insert) > 0 {
			add(m.Column, ovsdb.MutateOperationInsert, wireSet(m.Insert, m.Column.keyUUID))
		}
		if len(m.Put) > 0 {
			add(m.Column, ovsdb.MutateOperationInsert, m.Column.wire(&m.Put))
		}
	}
	return op
}

func whereUUID(uuid string) []ovsdb.Condition {
	return []ovsdb.Condition{ovsdb.NewCondition("_uuid", ovsdb.ConditionEqual, ovsdb.UUID{GoUUID: uuid})}
}

// uuidOfWhere is the UUID that an operation selects its row by.
func uuidOfWhere(op ovsdb.Operation) (string, bool) {
	if len(op.Where) != 1 || op.Where[0].Column != "_uuid" {
		return "", false
	}
	u, ok := op.Where[0].Value.(ovsdb.UUID)
	return u.GoUUID, ok
}

func mustTable(m model.Model) *Table {
	t, ok := TableOf(m)
	if !ok {
		panic(fmt.Sprintf("%T is no row of an OVSDB table", m))
	}
	return t
}

// fit leaves out of inserts and updates what the server's schema lacks.
func fit(op ovsdb.Operation, schema *ovsdb.DatabaseSchema) ovsdb.Operation {
	table := schema.Table(op.Table)
	if table == nil || len(op.Row) == 0 {
		return op
	}
	cloned := false
	for name := range op.Row {
		if table.Column(name) != nil {
			continue
		}
		if !cloned {
			op.Row, cloned = maps.Clone(op.Row), true
		}
		delete(op.Row, name)
	}
	return op
}

// TxnError says why a server refused a transaction.
type TxnError struct {
	Database string
	// Op is the index of the operation that failed; -1 when all of them together broke a
	// constraint.
	Op    int
	Table string // of that operation
	// Reason is OVSDB's word, e.g. "constraint violation"; Details its explanation.
	Reason, Details string
}

func (e *TxnError) Error() string {
	where := ""
	if e.Op >= 0 {
		where = fmt.Sprintf(" at operation %d on table %s", e.Op, e.Table)
	}
	return fmt.Sprintf("%s refused the transaction%s: %s: %s", e.Database, where, e.Reason, e.Details)
}

func checkResults(db string, ops []ovsdb.Operation, results []ovsdb.OperationResult) error {
	for i, r := range results {
		if r.Error == "" {
			continue
		}
		e := &TxnError{Database: db, Op: -1, Reason: r.Error, Details: r.Details}
		if i < len(ops) {
			e.Op, e.Table = i, ops[i].Table
		}
		return e
	}
	if len(results) < len(ops) {
		return &TxnError{Database: db, Op: -1, Reason: "incomplete answer",
			Details: fmt.Sprintf("%d operations, %d results", len(ops), len(results))}
	}
	return nil
}
