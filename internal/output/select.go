package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"k8s.io/client-go/util/jsonpath"
)

// parsePath reads a JSONPath as kubectl does: the braces, and the first dot, may be left out.
func parsePath(text string) (*jsonpath.JSONPath, error) {
	if !strings.Contains(text, "{") {
		text = "{." + strings.TrimPrefix(text, ".") + "}"
	}
	p := jsonpath.New("output").AllowMissingKeys(true)
	if err := p.Parse(text); err != nil {
		return nil, fmt.Errorf("JSONPath %s: %w", text, err)
	}
	return p, nil
}

// document is the result as JSON has it.
func document(v any) (any, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber() // as they are written
	var out any
	err = d.Decode(&out)
	return out, err
}

func printPath(w io.Writer, result any, path string) error {
	p, err := parsePath(path)
	if err != nil {
		return err
	}
	doc, err := document(result)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := p.Execute(&b, doc); err != nil {
		return fmt.Errorf("JSONPath %s: %w", path, err)
	}
	if b.Len() > 0 && !bytes.HasSuffix(b.Bytes(), []byte("\n")) {
		b.WriteByte('\n')
	}
	_, err = w.Write(b.Bytes())
	return err
}

// custom is a column that somebody asked for.
type custom struct {
	header string
	path   *jsonpath.JSONPath
}

// parseColumns reads HEADER:path,HEADER:path.
func parseColumns(text string) ([]custom, error) {
	var out []custom
	for part := range strings.SplitSeq(text, ",") {
		header, path, ok := strings.Cut(part, ":")
		if !ok || header == "" || path == "" {
			return nil, fmt.Errorf("--output=custom-columns=%s: %q is not HEADER:path", text, part)
		}
		p, err := parsePath(path)
		if err != nil {
			return nil, err
		}
		out = append(out, custom{header, p})
	}
	return out, nil
}

func (f *Flags) customColumns(w io.Writer, result any, text string) error {
	columns, err := parseColumns(text)
	if err != nil {
		return err
	}
	of := result
	if l, ok := result.(Listed); ok {
		of = l.Items()
	}
	doc, err := document(of)
	if err != nil {
		return err
	}
	items, ok := doc.([]any)
	if !ok {
		items = []any{doc}
	}
	var t Table
	for _, c := range columns {
		t.Header = append(t.Header, c.header)
	}
	for _, item := range items {
		var row []string
		for _, c := range columns {
			cell, err := cellOf(c.path, item)
			if err != nil {
				return fmt.Errorf("column %s: %w", c.header, err)
			}
			row = append(row, cell)
		}
		t.Rows = append(t.Rows, row)
	}
	return t.write(w, f.Style(w), f.NoHeaders)
}

// cellOf is the values that a path finds, with commas.
func cellOf(p *jsonpath.JSONPath, item any) (string, error) {
	found, err := p.FindResults(item)
	if err != nil {
		return "", err
	}
	var values []string
	for _, group := range found {
		for _, v := range group {
			switch x := v.Interface().(type) {
			case nil:
			case string:
				values = append(values, x)
			default:
				data, err := json.Marshal(x)
				if err != nil {
					return "", err
				}
				values = append(values, string(data))
			}
		}
	}
	return strings.Join(values, ","), nil
}
