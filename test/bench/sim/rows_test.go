//go:build linux

package sim

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"github.com/ovnkctl/ovnkctl/internal/ovn/nb"
)

// row is a row of the Northbound database as the protocol has it: numbers, strings, and
// ["set", …], ["map", …] and ["uuid", …].
type row map[string]any

// rowSet are the rows of tables by UUID.
type rowSet map[string]map[string]row

// policyTables are those that policies are in.
var policyTables = []string{nb.AddressSetTable, nb.PortGroupTable, nb.ACLTable}

func (z *zone) rows() rowSet {
	z.b.Helper()
	out := rowSet{}
	for _, table := range policyTables {
		var list struct {
			Headings []string
			Data     [][]any
		}
		if err := json.Unmarshal([]byte(z.run("ovn-nbctl", "--format=json", "list", table)), &list); err != nil {
			z.b.Fatal(err)
		}
		out[table] = map[string]row{}
		for _, values := range list.Data {
			r := row{}
			for i, v := range values {
				r[list.Headings[i]] = v
			}
			uuid := r["_uuid"].([]any)[1].(string)
			delete(r, "_uuid")
			out[table][uuid] = r
		}
	}
	return out
}

// backup is the content of the Northbound database.
func (z *zone) backup() []byte {
	z.b.Helper()
	data, err := os.ReadFile(filepath.Join(z.dir, "nb.db"))
	if err != nil {
		z.b.Fatal(err)
	}
	return data
}

// elements are those of a set, which a single one is, too.
func elements(v any) []any {
	if l, ok := v.([]any); ok && len(l) == 2 && l[0] == "set" {
		return l[1].([]any)
	}
	return []any{v}
}

// text is a value as ovn-nbctl reads it.
func text(v any) string {
	switch v := v.(type) {
	case []any:
		var parts []string
		switch v[0] {
		case "uuid":
			return v[1].(string)
		case "set":
			for _, e := range v[1].([]any) {
				parts = append(parts, text(e))
			}
			return "[" + strings.Join(parts, ",") + "]"
		default: // map
			for _, pair := range v[1].([]any) {
				parts = append(parts, text(pair.([]any)[0])+"="+text(pair.([]any)[1]))
			}
			return "{" + strings.Join(parts, ",") + "}"
		}
	case string:
		var quoted strings.Builder
		e := json.NewEncoder(&quoted)
		e.SetEscapeHTML(false)
		_ = e.Encode(v) // a string always can be
		return strings.TrimSpace(quoted.String())
	}
	return fmt.Sprint(v)
}

// create is the command that makes a row, with an id for other commands of the same call
// unless that is empty. Columns that have nothing are left out.
func create(table, id string, r row) []string {
	out := []string{"--"}
	if id != "" {
		out = append(out, "--id=@"+id)
	}
	out = append(out, "create", table)
	for _, column := range sortedKeys(r) {
		if t := text(r[column]); t != "[]" && t != "{}" && t != `""` {
			out = append(out, column+"="+t)
		}
	}
	return out
}

// longestCall is how long the arguments of one call are at most, in bytes: the kernel takes
// 2 MiB with the environment.
const longestCall = 512 << 10

// script are the calls of ovn-nbctl that make the rows which a database has more than it had.
func script(b *testing.B, before, with rowSet) [][]string {
	b.Helper()
	var calls [][]string
	length := longestCall // as if full: the first command begins the first call
	add := func(command []string) {
		n := 0
		for _, a := range command {
			n += len(a) + 1
		}
		if length+n > longestCall {
			calls, length = append(calls, nil), 0
		}
		calls[len(calls)-1] = append(calls[len(calls)-1], command...)
		length += n
	}
	for uuid, r := range with[nb.AddressSetTable] {
		switch old, ok := before[nb.AddressSetTable][uuid]; {
		case !ok:
			add(create(nb.AddressSetTable, "", r))
		case !reflect.DeepEqual(old, r):
			add([]string{"--", "set", nb.AddressSetTable, uuid, "addresses=" + text(r["addresses"])})
		}
	}
	made := 0
	for uuid, r := range with[nb.PortGroupTable] {
		old, ok := before[nb.PortGroupTable][uuid]
		if ok && reflect.DeepEqual(old, r) {
			continue
		}
		var command, acls []string
		for _, ref := range elements(r["acls"]) {
			acl := ref.([]any)[1].(string)
			if _, was := before[nb.ACLTable][acl]; was {
				continue
			}
			id := fmt.Sprint("acl", made)
			made++
			command, acls = append(command, create(nb.ACLTable, id, with[nb.ACLTable][acl])...), append(acls, "@"+id)
		}
		if ok {
			command = append(command, "--", "set", nb.PortGroupTable, uuid, "ports="+text(r["ports"]))
			if len(acls) > 0 {
				command = append(command, append([]string{"--", "add", nb.PortGroupTable, uuid, "acls"}, acls...)...)
			}
		} else {
			group := row{"name": r["name"], "ports": r["ports"], "external_ids": r["external_ids"]}
			command = append(command, create(nb.PortGroupTable, "", group)...)
			if len(acls) > 0 {
				command = append(command, "acls="+strings.Join(acls, ","))
			}
		}
		add(command)
	}
	if want := len(with[nb.ACLTable]) - len(before[nb.ACLTable]); made != want {
		b.Fatalf("of %d new ACLs %d are in port groups: the script would not be the same rows", want, made)
	}
	return calls
}

// edit is a change of a row, in a way that means the same in another database.
type edit struct {
	table, column, where string // where: value of the column key
	key                  string
	add, remove          []any // elements of a set
	set                  any   // a value, instead
}

// difference are the edits that make one state of another. Sets are known by their names and
// ACLs by what they match.
func difference(b *testing.B, from, to rowSet) []edit {
	b.Helper()
	var out []edit
	for _, table := range policyTables {
		if len(from[table]) != len(to[table]) {
			b.Fatalf("the change made or deleted rows of %s, which the floor does not do", table)
		}
		for uuid, r := range to[table] {
			old, ok := from[table][uuid]
			switch {
			case !ok:
				b.Fatalf("the change made another row of %s, which the floor does not do", table)
			case reflect.DeepEqual(old, r):
			case table == nb.AddressSetTable:
				out = append(out, edit{
					table: table, key: "name", where: r["name"].(string), column: "addresses",
					add: without(r["addresses"], old["addresses"]), remove: without(old["addresses"], r["addresses"]),
				})
			case table == nb.ACLTable:
				out = append(out, edit{table: table, key: "match", where: old["match"].(string), column: "match", set: r["match"]})
			default:
				b.Fatalf("the change is one of %s, which the floor does not do", table)
			}
		}
	}
	if len(out) == 0 {
		b.Fatal("the change changed nothing")
	}
	return out
}

func without(v, others any) []any {
	known := map[any]bool{}
	for _, e := range elements(others) {
		known[e] = true
	}
	return slices.DeleteFunc(slices.Clone(elements(v)), func(e any) bool { return known[e] })
}

// place is which of the edits that go there concerns the same row as this, which goes there
// (0) or back (1).
func (e edit) place(there []edit, way int) int {
	return slices.IndexFunc(there, func(t edit) bool {
		if way == 1 && t.set != nil {
			return t.table == e.table && t.set == any(e.where)
		}
		return t.table == e.table && t.where == e.where
	})
}

// command is the edit for ovn-nbctl, on a row that is known by now.
func (e edit) command(uuid string) []string {
	if e.set != nil {
		return []string{"--", "set", e.table, uuid, e.column + "=" + text(e.set)}
	}
	var out []string
	for verb, elements := range map[string][]any{"add": e.add, "remove": e.remove} {
		if len(elements) == 0 {
			continue
		}
		out = append(out, "--", verb, e.table, uuid, e.column)
		for _, v := range elements {
			out = append(out, text(v))
		}
	}
	return out
}

// operations are the edit for the database itself.
func (e edit) operations(uuid string) []ovsdb.Operation {
	where := []ovsdb.Condition{ovsdb.NewCondition("_uuid", ovsdb.ConditionEqual, ovsdb.UUID{GoUUID: uuid})}
	if e.set != nil {
		return []ovsdb.Operation{{Op: ovsdb.OperationUpdate, Table: e.table, Where: where, Row: ovsdb.Row{e.column: e.set}}}
	}
	op := ovsdb.Operation{Op: ovsdb.OperationMutate, Table: e.table, Where: where}
	for mutator, elements := range map[ovsdb.Mutator][]any{ovsdb.MutateOperationInsert: e.add, ovsdb.MutateOperationDelete: e.remove} {
		if len(elements) > 0 {
			op.Mutations = append(op.Mutations, *ovsdb.NewMutation(e.column, mutator, ovsdb.OvsSet{GoSet: elements}))
		}
	}
	return []ovsdb.Operation{op}
}
