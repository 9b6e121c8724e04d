package ovn

import (
	"context"
	"fmt"
	"reflect"

	"github.com/ovn-kubernetes/libovsdb/client"
	"github.com/ovn-kubernetes/libovsdb/model"
	"github.com/ovn-kubernetes/libovsdb/ovsdb"
)

// plan is how one server's schema is met: which tables and columns are watched, and by
// which Go types.
type plan struct {
	schema  ovsdb.DatabaseSchema
	models  model.ClientDBModel
	watched map[*Table]ColumnSet
}

// fetchSchema asks the server for its schema: libovsdb refuses to connect with a model
// that names a column the server lacks, so the schema comes first.
func fetchSchema(ctx context.Context, cfg Config) (ovsdb.DatabaseSchema, error) {
	none, err := model.NewClientDBModel(cfg.Database.Name, nil)
	if err != nil {
		return ovsdb.DatabaseSchema{}, err
	}
	c, err := client.NewOVSDBClient(none, client.WithEndpoint(cfg.Endpoint))
	if err != nil {
		return ovsdb.DatabaseSchema{}, err
	}
	defer c.Close()
	if err := c.Connect(ctx); err != nil {
		return ovsdb.DatabaseSchema{}, err
	}
	return c.Schema(), nil
}

// adapt chooses what is watched of a server.
func adapt(cfg Config, schema ovsdb.DatabaseSchema) (plan, error) {
	p := plan{schema: schema, watched: map[*Table]ColumnSet{}}
	models := map[string]model.Model{}
	for _, t := range cfg.Database.Tables() {
		has := t.presentIn(schema)
		var watched ColumnSet
		for _, c := range t.Columns {
			if has.Has(c) && cfg.watchesColumn(c) {
				watched = watched.With(c)
			}
		}
		if watched != 0 && cfg.watches(t) {
			p.watched[t] = watched
			models[t.Name] = reflect.New(t.with(has)).Interface()
		}
	}
	if len(models) == 0 {
		return p, fmt.Errorf("database %s of the server has none of the tables wanted", cfg.Database.Name)
	}
	var err error
	p.models, err = model.NewClientDBModel(cfg.Database.Name, models)
	return p, err
}

// ModelFor is libovsdb's model of the database, fit for a server with that schema.
func (d *Database) ModelFor(schema ovsdb.DatabaseSchema) (model.ClientDBModel, error) {
	p, err := adapt(Config{Database: d}, schema)
	return p.models, err
}

// presentIn are the columns that the server has with the type we know.
func (t *Table) presentIn(schema ovsdb.DatabaseSchema) ColumnSet {
	server := schema.Table(t.Name)
	if server == nil {
		return 0
	}
	var out ColumnSet
	for _, c := range t.Columns {
		if s := server.Column(c.Name); s != nil && ovsdb.NativeType(s) == t.typ.Field(c.field).Type {
			out = out.With(c)
		}
	}
	return out
}

// with is the row's type for a server that has these columns: the generated one when none
// is missing, else one of the same memory layout in which the missing ones have no tag. Go
// converts between the two without copying.
func (t *Table) with(has ColumnSet) reflect.Type {
	missing := false
	fields := make([]reflect.StructField, t.typ.NumField())
	for i := range fields {
		f := t.typ.Field(i)
		fields[i] = reflect.StructField{Name: f.Name, Type: f.Type, Tag: f.Tag}
	}
	for _, c := range t.Columns {
		if !has.Has(c) {
			fields[c.field].Tag = ""
			missing = true
		}
	}
	if !missing {
		return t.typ
	}
	return reflect.StructOf(fields)
}

// native turns a row of an adapted type into one of the generated type: the same memory.
func (t *Table) native(m model.Model) model.Model {
	want := reflect.PointerTo(t.typ)
	if reflect.TypeOf(m) == want {
		return m
	}
	return reflect.ValueOf(m).Convert(want).Interface()
}

// UUIDOf is the UUID of a row of the table.
func (t *Table) UUIDOf(m model.Model) string {
	return reflect.ValueOf(m).Elem().Field(t.uuid).String()
}

func (p plan) monitor() *client.Monitor {
	m := &client.Monitor{Method: ovsdb.ConditionalMonitorRPC}
	for t, columns := range p.watched {
		m.Tables = append(m.Tables, client.TableMonitor{Table: t.Name, Fields: columns.Names(t)})
	}
	return m
}
