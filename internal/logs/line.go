package logs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Level is how bad a line is.
type Level string

// The levels, in order. What says none is Unknown, which is never left out: the end of a
// program that crashes has no level.
const (
	Debug   Level = "debug"
	Info    Level = "info"
	Warn    Level = "warn"
	Error   Level = "error"
	Unknown Level = ""
)

// Levels are those that can be asked for.
var Levels = []Level{Debug, Info, Warn, Error}

// atLeast tells whether a level is as bad as another one.
func (l Level) atLeast(m Level) bool {
	return l == Unknown || m == Unknown || slices.Index(Levels, l) >= slices.Index(Levels, m)
}

// levels are the words of programs: slog's, and Open vSwitch's (vlog, ovs-appctl(8)).
var levels = map[string]Level{
	"DEBUG": Debug, "INFO": Info, "WARN": Warn, "ERROR": Error, "DBG": Debug, "ERR": Error, "EMER": Error,
}

// Line is one line of a log.
type Line struct {
	Time      time.Time `json:"time"`
	Node      string    `json:"node"`
	Pod       string    `json:"pod"`
	Container string    `json:"container"`
	Previous  bool      `json:"previous,omitempty"` // of the container before it was started again
	Level     Level     `json:"level,omitempty"`
	// Module is the part of the program, of those that say it.
	Module  string `json:"module,omitempty"`
	Message string `json:"message"`
	// Fields are what is said beside the message, in order.
	Fields []Field `json:"fields,omitempty"`

	raw string
}

// Field is something said beside a message.
type Field struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// parse reads a line of a container's log: the time that the node wrote it at, and what the
// program has said. What is of no known form is a message as it is. The second result is
// false if it has not even a time.
func parse(text string) (Line, bool) {
	stamp, rest, ok := strings.Cut(text, " ")
	at, err := time.Parse(time.RFC3339Nano, stamp)
	if !ok || err != nil {
		return Line{Message: text, raw: text}, false
	}
	l := Line{Time: at, Message: rest, raw: text}
	if !l.slog(rest) {
		l.vlog(rest)
	}
	return l, true
}

// slog reads a line of ovnkctl: one JSON object.
func (l *Line) slog(text string) bool {
	if !strings.HasPrefix(text, "{") {
		return false
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if _, err := d.Token(); err != nil {
		return false
	}
	var level, message string
	var fields []Field
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return false
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return false
		}
		switch name {
		case "time": // the node's is as good, and all lines have it
		case "level":
			level = plain(value)
		case "msg":
			message = plain(value)
		default:
			fields = append(fields, Field{fmt.Sprint(name), plain(value)})
		}
	}
	if level == "" && message == "" {
		return false
	}
	l.Level, l.Message, l.Fields = levels[level], message, fields
	return true
}

// plain is a JSON value without quotes around it, and in one line.
func plain(value json.RawMessage) string {
	var text string
	if json.Unmarshal(value, &text) == nil {
		return text
	}
	var b bytes.Buffer
	if json.Compact(&b, value) == nil {
		return b.String()
	}
	return string(value)
}

// vlog reads a line of Open vSwitch and OVN: TIME|NUMBER|MODULE|LEVEL|MESSAGE, the module with
// a thread in parentheses behind it in some.
func (l *Line) vlog(text string) {
	parts := strings.SplitN(text, "|", 5)
	if len(parts) != 5 {
		return
	}
	if level, ok := levels[parts[3]]; ok {
		l.Level, l.Module, l.Message = level, parts[2], parts[4]
	}
}
