package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// Load reads a file over the defaults and checks the whole. An empty path is no file.
func Load(path string) (*Config, error) { return (&Flags{Path: path}).Load() }

// Parse decodes a document over the defaults and checks the whole. With an error it returns
// what could be read nevertheless, nil if it is nothing: a tool may be older than the
// configuration that it looks at.
func Parse(source string, data []byte) (*Config, error) {
	c, err := parse(source, data)
	if err != nil {
		return c, err
	}
	return c, invalid(source, c.problems())
}

// read is the file over the defaults, unchecked but for its keys and types.
func read(path string) (*Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	return parse(path, data)
}

// parse decodes a document over the defaults. All unknown keys and wrong types are
// reported at once, by their full names, which encoding/json cannot do.
func parse(source string, data []byte) (*Config, error) {
	c := Default()
	asJSON, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		return nil, fmt.Errorf("configuration %s is not YAML: %w", source, err)
	}
	decoder := json.NewDecoder(bytes.NewReader(asJSON))
	decoder.UseNumber()
	var document any
	if err := decoder.Decode(&document); err != nil {
		return nil, fmt.Errorf("configuration %s: %w", source, err)
	}
	if document == nil {
		return c, nil // an empty file
	}
	d := decoding{}
	d.decode("", document, reflect.ValueOf(c).Elem())
	return c, invalid(source, d.problems)
}

type decoding struct{ problems []Problem }

func (d *decoding) decode(path string, from any, to reflect.Value) {
	if from == nil {
		return // a key without a value keeps the default
	}
	switch to.Kind() {
	case reflect.Struct:
		object, ok := from.(map[string]any)
		if !ok {
			d.wrongType(path, from, "an object")
			return
		}
		d.decodeObject(path, object, to)
	case reflect.Int:
		if n, ok := from.(json.Number); ok {
			if i, err := n.Int64(); err == nil {
				to.SetInt(i)
				return
			}
		}
		d.wrongType(path, from, "a whole number")
	case reflect.Bool:
		b, ok := from.(bool)
		if !ok {
			d.wrongType(path, from, "true or false")
			return
		}
		to.SetBool(b)
	default:
		s, ok := from.(string)
		if !ok {
			d.wrongType(path, from, "text in quotes")
			return
		}
		to.SetString(s)
	}
}

func (d *decoding) decodeObject(path string, object map[string]any, to reflect.Value) {
	known := map[string]int{}
	for i := range to.NumField() {
		name, _, _ := strings.Cut(to.Type().Field(i).Tag.Get("json"), ",")
		known[name] = i
	}
	for _, key := range slices.Sorted(maps.Keys(object)) {
		full := strings.TrimPrefix(path+"."+key, ".")
		if i, ok := known[key]; ok {
			d.decode(full, object[key], to.Field(i))
			continue
		}
		d.problems = append(d.problems, Problem{
			Field: full, Why: "unknown key", Remedy: suggestion(path, key, slices.Sorted(maps.Keys(known))),
		})
	}
}

func (d *decoding) wrongType(path string, from any, want string) {
	if path == "" {
		path = "the document"
	}
	text, err := json.Marshal(from)
	if err != nil {
		text = fmt.Append(nil, from)
	}
	d.problems = append(d.problems, Problem{
		Field: path, Value: strings.Trim(string(text), `"`), Why: "is not " + want, Remedy: "write " + want,
	})
}

// suggestion names the known key that an unknown one was probably meant to be: the
// nearest of its siblings, or the same name elsewhere in the document.
func suggestion(path, key string, siblings []string) string {
	full := func(name string) string { return strings.TrimPrefix(path+"."+name, ".") }
	best, bestDistance := "", len(key)/3+2
	for _, s := range siblings {
		if n := distance(strings.ToLower(key), strings.ToLower(s)); n < bestDistance {
			best, bestDistance = s, n
		}
	}
	if best != "" {
		return "did you mean " + full(best) + "?"
	}
	for _, f := range Fields() {
		if leaf := f.Path[strings.LastIndexByte(f.Path, '.')+1:]; strings.EqualFold(leaf, key) {
			return "did you mean " + f.Path + "?"
		}
	}
	where := path
	if where == "" {
		where = "the top level"
	}
	return "remove it; the keys of " + where + " are " + strings.Join(siblings, ", ")
}

// distance is the number of runes to insert, delete or replace to make b of a.
func distance(a, b string) int {
	ra, rb := []rune(a), []rune(b)
	row := make([]int, len(rb)+1)
	for j := range row {
		row[j] = j
	}
	for i := range ra {
		diagonal := row[0]
		row[0] = i + 1
		for j := range rb {
			cost := diagonal
			if ra[i] != rb[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(rb)]
}
