// Package owner is the identity of rows: which key of which feature a database row
// belongs to, written into the row's external_ids and read back by the runtime (to
// know what to delete) and by the tools (to name the Kubernetes object behind a row).
package owner

import (
	"strings"
)

const (
	// Key is the external_ids key that holds the owner: "<feature>/<key>".
	Key = "ovnkctl.io/owner"
	// Row is the external_ids key that holds the row's name among its owner's rows.
	Row = "ovnkctl.io/row"
)

// ID is one owner.
type ID struct {
	Feature string // name of the feature, e.g. "pods"
	Key     string // the feature's key as text, e.g. "default/web-0"
}

// String is the form kept in external_ids.
func (id ID) String() string { return id.Feature + "/" + id.Key }

// Parse reads the form that String writes.
func Parse(s string) (ID, bool) {
	feature, key, ok := strings.Cut(s, "/")
	return ID{Feature: feature, Key: key}, ok && feature != "" && key != ""
}

// Of returns the owner and row name that a row's external_ids declare; ok is false for
// rows that are not ours.
func Of(externalIDs map[string]string) (id ID, row string, ok bool) {
	id, ok = Parse(externalIDs[Key])
	return id, externalIDs[Row], ok
}
