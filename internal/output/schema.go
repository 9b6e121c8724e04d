package output

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Schema is the JSON Schema (draft 2020-12) of a document: what its Go type makes of it.
func Schema(sample any) (map[string]any, error) {
	g := &schemas{defs: map[string]any{}, names: map[reflect.Type]string{}}
	t := reflect.TypeOf(sample)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	meta, ok := metaOf(sample)
	if !ok || t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("%s is no document: it has no kind", t)
	}
	root := g.object(t)
	properties := root["properties"].(map[string]any)
	properties["apiVersion"] = map[string]any{"const": meta.APIVersion}
	properties["kind"] = map[string]any{"const": meta.Kind}
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["$id"] = meta.APIVersion + "/" + meta.Kind
	root["title"] = meta.Kind
	if len(g.defs) > 0 {
		root["$defs"] = g.defs
	}
	return root, nil
}

// KindOf is the kind of a document.
func KindOf(sample any) string {
	m, _ := metaOf(sample)
	return m.Kind
}

func metaOf(sample any) (Meta, bool) {
	v := reflect.Indirect(reflect.ValueOf(sample))
	if v.Kind() != reflect.Struct {
		return Meta{}, false
	}
	f := v.FieldByName("Meta")
	if !f.IsValid() {
		return Meta{}, false
	}
	m, ok := f.Interface().(Meta)
	return m, ok && m.Kind != ""
}

// schemas gathers the types of one document.
type schemas struct {
	defs  map[string]any
	names map[reflect.Type]string
}

var (
	timeType   = reflect.TypeFor[time.Time]()
	textType   = reflect.TypeFor[encoding.TextMarshaler]()
	jsonType   = reflect.TypeFor[json.Marshaler]()
	rawType    = reflect.TypeFor[json.RawMessage]()
	numberType = reflect.TypeFor[json.Number]()
)

func (g *schemas) of(t reflect.Type) map[string]any {
	switch {
	case t == timeType:
		return map[string]any{"type": "string", "format": "date-time"}
	case t == numberType:
		return map[string]any{"type": "number"}
	case t == rawType:
		return map[string]any{}
	case t.Kind() != reflect.Pointer && t.Implements(textType):
		return map[string]any{"type": "string"}
	case t.Kind() != reflect.Pointer && t.Implements(jsonType):
		return map[string]any{} // only it knows
	}
	switch t.Kind() {
	case reflect.Pointer:
		return g.of(t.Elem())
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return map[string]any{"type": "integer"}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return map[string]any{"type": "integer", "minimum": 0}
	case reflect.Float32, reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return map[string]any{"type": "string", "contentEncoding": "base64"}
		}
		// A slice that is nil is null, where it is not left out.
		return map[string]any{"type": []string{"array", "null"}, "items": g.of(t.Elem())}
	case reflect.Map:
		return map[string]any{"type": []string{"object", "null"}, "additionalProperties": g.of(t.Elem())}
	case reflect.Struct:
		return g.reference(t)
	}
	return map[string]any{}
}

// reference is a struct by its name: types may contain themselves.
func (g *schemas) reference(t reflect.Type) map[string]any {
	name, known := g.names[t]
	if !known {
		name = t.Name()
		if name == "" {
			return g.object(t)
		}
		for n := 2; g.defs[name] != nil; n++ { // of another package
			name = fmt.Sprint(t.Name(), n)
		}
		g.names[t] = name
		g.defs[name] = map[string]any{} // taken, while its fields are looked at
		g.defs[name] = g.object(t)
	}
	return map[string]any{"$ref": "#/$defs/" + name}
}

func (g *schemas) object(t reflect.Type) map[string]any {
	properties := map[string]any{}
	required := g.fields(t, properties)
	slices.Sort(required)
	out := map[string]any{"type": "object", "properties": properties}
	if len(required) > 0 {
		out["required"] = required
	}
	return out
}

// fields adds the fields as encoding/json has them, and returns those that are always there.
func (g *schemas) fields(t reflect.Type, properties map[string]any) (required []string) {
	for i := range t.NumField() {
		f := t.Field(i)
		tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if tag == "-" {
			continue
		}
		inner := f.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		if f.Anonymous && tag == "" && inner.Kind() == reflect.Struct {
			required = append(required, g.fields(inner, properties)...)
			continue
		}
		if !f.IsExported() {
			continue
		}
		if tag == "" {
			tag = f.Name
		}
		properties[tag] = g.of(f.Type)
		if !strings.Contains(options, "omitempty") && !strings.Contains(options, "omitzero") {
			required = append(required, tag)
		}
	}
	return required
}
