// Package annotation knows the k8s.ovn.org annotations of Nodes and Pods: their keys
// and formats, in both directions. Encoding is what OVN-Kubernetes writes, to the byte,
// so that clusters migrate and scripts that read annotations go on working. Decoding is
// strict about values (an address that does not parse is an error that says what to do)
// and lenient about JSON keys it does not know, which newer versions may add.
//
//	subnets, ok, err := annotation.NodeSubnets.Get(node.Annotations)
//	annotation.NodeID.Put(patch, 7)
package annotation

import "fmt"

// DefaultNetwork is the key of the default network in annotations that are maps by
// network.
const DefaultNetwork = "default"

// Codec is one annotation: its key and its format.
type Codec[T any] struct {
	key    string
	remedy string
	encode func(T) string
	decode func(string) (T, error)
}

// Key is the annotation's key, e.g. "k8s.ovn.org/node-id".
func (c *Codec[T]) Key() string { return c.key }

// Encode is the annotation's value; empty where the format says so by the annotation's
// absence. The value must be one that Decode accepts; it is not checked again.
func (c *Codec[T]) Encode(value T) string { return c.encode(value) }

// Decode reads the annotation's value. The error is an *Error.
func (c *Codec[T]) Decode(text string) (T, error) {
	value, err := c.decode(text)
	if err != nil {
		var zero T
		return zero, &Error{Key: c.key, Value: text, Problem: err.Error(), Remedy: c.remedy}
	}
	return value, nil
}

// Get reads the annotation from an object's annotations; ok is false when there is none
// or when it is in error. The error is an *Error.
func (c *Codec[T]) Get(annotations map[string]string) (value T, ok bool, err error) {
	text := annotations[c.key]
	if text == "" {
		return value, false, nil
	}
	value, err = c.Decode(text)
	return value, err == nil, err
}

// Put adds the annotation to a patch, in which an empty value means removal.
func (c *Codec[T]) Put(patch map[string]string, value T) { patch[c.key] = c.encode(value) }

// Error is an annotation that cannot be understood.
type Error struct {
	Key     string
	Value   string
	Problem string // what is wrong with the value
	Remedy  string // what to do next
}

// maxShown bounds how much of a value an error repeats, in bytes.
const maxShown = 200

// Message names value and problem, for those who show key and remedy apart.
func (e *Error) Message() string {
	value := e.Value
	if len(value) > maxShown {
		value = value[:maxShown] + "…"
	}
	return fmt.Sprintf("%q: %s", value, e.Problem)
}

// Error names key, value, problem and remedy.
func (e *Error) Error() string {
	return fmt.Sprintf("annotation %s is %s; %s", e.Key, e.Message(), e.Remedy)
}

// Remedies by who writes the annotation.
const (
	byController = "remove the annotation and `ovnkctl controller` writes it again"
	byNode       = "remove the annotation and `ovnkctl node` on that node writes it again"
	byPod        = "delete the pod, so that its replacement gets a new allocation"
)
