package whatif

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	yamls "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/ovnkctl/ovnkctl/internal/explain"
)

// document is one object of a file, as it is written there.
type document struct {
	from string // where it is from, for people
	kind *kind
	text []byte
}

// InputError is something in a file, or on the command line, that cannot be taken.
type InputError struct {
	// Where is the file and document, or the flag.
	Where, Why, Next string
}

func (e *InputError) Error() string { return e.Where + ": " + e.Why }

// Hint is what to do about it.
func (e *InputError) Hint() string { return e.Next }

// suffixes are those of files that are read of a folder.
var suffixes = []string{".yaml", ".yml", ".json"}

// maxManifest bounds one file, in bytes. The API server takes objects of 1.5 MiB.
const maxManifest = 64 << 20

// readManifests reads files, folders, and standard input for "-".
func readManifests(paths []string, stdin io.Reader) ([]document, error) {
	var out []document
	for _, path := range paths {
		files := []string{path}
		if stat, err := os.Stat(path); path != "-" && err == nil && stat.IsDir() {
			if files, err = manifestsIn(path); err != nil {
				return nil, err
			}
		}
		for _, file := range files {
			docs, err := readManifest(file, stdin)
			if err != nil {
				return nil, err
			}
			out = append(out, docs...)
		}
	}
	return out, nil
}

func manifestsIn(folder string) ([]string, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if e.Type().IsRegular() && slices.Contains(suffixes, strings.ToLower(filepath.Ext(e.Name()))) {
			out = append(out, filepath.Join(folder, e.Name()))
		}
	}
	if len(out) == 0 {
		return nil, &InputError{Where: folder, Why: "no file in it ends in " + strings.Join(suffixes, ", "), Next: "name a folder with manifests, or a file"}
	}
	return out, nil
}

func readManifest(file string, stdin io.Reader) ([]document, error) {
	name, r := file, stdin
	if file == "-" {
		name = "standard input"
	} else {
		f, err := os.Open(file)
		if err != nil {
			why := err.Error()
			if errors.Is(err, os.ErrNotExist) {
				why = "there is no such file"
			}
			return nil, &InputError{Where: file, Why: why, Next: "look at the path behind --with"}
		}
		defer f.Close()
		r = f
	}
	if r == nil {
		return nil, &InputError{Where: name, Why: "there is none", Next: "name a file"}
	}
	limited := &io.LimitedReader{R: r, N: maxManifest + 1}
	var out []document
	reader := yamls.NewYAMLReader(bufio.NewReader(limited))
	for n := 1; ; n++ {
		text, err := reader.Read()
		if limited.N <= 0 {
			return nil, &InputError{Where: name, Why: fmt.Sprintf("it is longer than %d MiB", maxManifest>>20), Next: "name the file of the objects alone"}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, &InputError{Where: name, Why: err.Error()}
		}
		docs, err := split(where(name, n), text)
		if err != nil {
			return nil, err
		}
		out = append(out, docs...)
	}
	if len(out) == 0 {
		return nil, &InputError{Where: name, Why: "there is no object in it", Next: "write one or more manifests, as for 'kubectl apply'"}
	}
	return out, nil
}

func where(name string, document int) string {
	if document == 1 {
		return name
	}
	return fmt.Sprintf("%s, document %d", name, document)
}

// split finds out what a document is. Lists, as 'kubectl get' prints them, are their items.
func split(from string, text []byte) ([]document, error) {
	data, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return nil, &InputError{Where: from, Why: err.Error(), Next: "mend the file's form"}
	}
	if string(bytes.TrimSpace(data)) == "null" {
		return nil, nil // a comment, or nothing
	}
	var head struct {
		metav1.TypeMeta
		Items []json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, &InputError{Where: from, Why: "it is no Kubernetes object: " + err.Error(), Next: "write a manifest, as for 'kubectl apply'"}
	}
	if head.Kind == "" || head.APIVersion == "" {
		return nil, &InputError{Where: from, Why: "it has no apiVersion or no kind", Next: "write a manifest, as for 'kubectl apply'"}
	}
	if strings.HasSuffix(head.Kind, "List") {
		var out []document
		for i, item := range head.Items {
			docs, err := split(fmt.Sprintf("%s, item %d", from, i+1), item)
			if err != nil {
				return nil, err
			}
			out = append(out, docs...)
		}
		return out, nil
	}
	k, err := kindOf(from, head.APIVersion, head.Kind)
	if err != nil {
		return nil, err
	}
	return []document{{from: from, kind: k, text: data}}, nil
}

// parseRef reads KIND/NAMESPACE/NAME, or KIND/NAME of what is in the given namespace or in
// none.
func parseRef(text, namespace string) (*kind, explain.Object, error) {
	bad := func(why string) error {
		return &InputError{Where: "--without=" + text, Why: why, Next: "name an object as KIND/NAMESPACE/NAME, e.g. networkpolicy/shop/deny-all"}
	}
	word, rest, ok := strings.Cut(text, "/")
	if !ok || word == "" || rest == "" {
		return nil, explain.Object{}, bad("it names no object")
	}
	k := kindByWord(word)
	if k == nil {
		return nil, explain.Object{}, bad(fmt.Sprintf("%q is none of the kinds that can be left out: %s", word, kindNames()))
	}
	o := explain.Object{Kind: k.name, Name: rest}
	ns, name, two := strings.Cut(rest, "/")
	switch {
	case !k.namespaced && two:
		return nil, explain.Object{}, bad(fmt.Sprintf("%s objects are in no namespace", k.name))
	case k.namespaced && two:
		o.Namespace, o.Name = ns, name
	case k.namespaced:
		o.Namespace = namespace
	}
	return k, o, nil
}
