package whatif

import (
	"reflect"

	"github.com/ovn-kubernetes/libovsdb/model"

	"github.com/ovnkctl/ovnkctl/internal/explain"
	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/owner"
	"github.com/ovnkctl/ovnkctl/internal/ovn/rows"
)

// there are the rows that a database has, to find those that a feature means.
type there struct {
	d       *ovn.Database
	content *ovn.Content
	byOwner map[string]map[string]*present // by the row's name among its owner's
	byName  map[rows.Target]*present
	byUUID  map[string]*present
}

// present is a row that is there.
type present struct {
	table *ovn.Table
	uuid  string
	model model.Model
	owner string
}

func indexed(d *ovn.Database, content *ovn.Content, tables []string) *there {
	x := &there{d: d, content: content, byOwner: map[string]map[string]*present{}, byName: map[rows.Target]*present{}, byUUID: map[string]*present{}}
	for _, name := range tables {
		t, ok := d.Table(name)
		if !ok {
			continue
		}
		for _, m := range content.Rows(t) {
			p := &present{table: t, uuid: explain.UUID(m), model: m}
			x.byUUID[p.uuid] = p
			if t.ExternalIDs != nil {
				ids := *t.ExternalIDs.Value(m).(*map[string]string)
				if p.owner = ids[owner.Key]; p.owner != "" {
					if x.byOwner[p.owner] == nil {
						x.byOwner[p.owner] = map[string]*present{}
					}
					x.byOwner[p.owner][ids[owner.Row]] = p
				}
			}
			if !named(t) {
				continue
			}
			// Of several with one name it is one that somebody owns, as the engine picks.
			at := rows.Target{Table: name, Name: t.NameOf(m)}
			if old := x.byName[at]; old == nil || old.owner == "" {
				x.byName[at] = p
			}
		}
	}
	return x
}

func named(t *ovn.Table) bool { return t.Singleton || len(t.Natural) > 0 }

// copyModel is a shallow copy.
func copyModel(m model.Model) model.Model {
	v := reflect.ValueOf(m).Elem()
	out := reflect.New(v.Type())
	out.Elem().Set(v)
	return out.Interface()
}

// withOwner is a model with its owner, as the engine writes it.
func withOwner(t *ovn.Table, m model.Model, who, id string) {
	if t.ExternalIDs == nil {
		return
	}
	p := t.ExternalIDs.Value(m).(*map[string]string)
	ids := make(map[string]string, len(*p)+2)
	for k, v := range *p {
		ids[k] = v
	}
	ids[owner.Key], ids[owner.Row] = who, id
	*p = ids
}
