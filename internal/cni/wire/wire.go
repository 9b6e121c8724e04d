// Package wire is the conversation between the CNI plugin that the container runtime
// starts for every call (the shim) and the server in the node process: one request and
// one response, each a length (4 bytes, big endian) followed by a JSON document, over a
// unix socket. It imports next to nothing, because the shim is started for every pod.
package wire

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

const (
	// DefaultSocket is where the server listens and the shim calls.
	DefaultSocket = "/var/run/ovn-kubernetes/cni/ovn-cni-server.sock"
	// MaxMessage bounds one message in bytes. A GC request lists every attachment of
	// the node: 110 pods are 15 KiB.
	MaxMessage = 1 << 20
	// Limit is how long the server may work on one request.
	Limit = 2 * time.Minute
)

// Versions are the CNI versions that the plugin speaks, oldest first.
var Versions = []string{"0.4.0", "1.0.0", "1.1.0"}

// The CNI commands. VERSION is answered by the shim alone.
const (
	Add     = "ADD"
	Del     = "DEL"
	Check   = "CHECK"
	GC      = "GC"
	Status  = "STATUS"
	Version = "VERSION"
)

// History is no CNI command: it asks what the node remembers of its pods and their ADDs, a
// history.Document. The tools ask it.
const History = "ovnkctl/HISTORY"

// Repair is no CNI command either: it asks the node's program to look again at what is in the
// request's Config, a repair.Request, and is answered with a repair.Answer.
const Repair = "ovnkctl/REPAIR"

// Error codes of the CNI specification that we use, and one of our own (from 100 on).
const (
	CodeIncompatibleVersion = 1
	CodeInvalidEnvironment  = 4
	CodeIO                  = 5
	CodeDecoding            = 6
	CodeInvalidConfig       = 7
	CodeTryAgain            = 11
	CodeNotAvailable        = 50
	CodeStageFailed         = 100
)

// Request is one call of the plugin: what the runtime put into its environment and on
// its standard input.
type Request struct {
	Command     string `json:"command"`
	ContainerID string `json:"containerID,omitempty"`
	Netns       string `json:"netns,omitempty"`
	IfName      string `json:"ifName,omitempty"`
	Args        string `json:"args,omitempty"`
	Config      []byte `json:"config,omitempty"` // verbatim; the server parses it
}

// Response is the answer: Result for standard output, or Error.
type Response struct {
	Result json.RawMessage `json:"result,omitempty"`
	Error  *Error          `json:"error,omitempty"`
}

// Error is a CNI error. Msg is one line that ends up in the pod's events.
type Error struct {
	Code    uint   `json:"code"`
	Msg     string `json:"msg"`
	Details string `json:"details,omitempty"`
}

// Error is the message and the details.
func (e *Error) Error() string {
	if e.Details == "" {
		return e.Msg
	}
	return e.Msg + "; " + e.Details
}

// Errorf makes an error with a code.
func Errorf(code uint, format string, args ...any) *Error {
	return &Error{Code: code, Msg: fmt.Sprintf(format, args...)}
}

// ErrTooLarge is returned for messages beyond MaxMessage.
var ErrTooLarge = errors.New("message is larger than 1 MiB")

// Write sends one message.
func Write(w io.Writer, message any) error {
	body, err := json.Marshal(message)
	if err != nil {
		return fmt.Errorf("encode message: %w", err)
	}
	if len(body) > MaxMessage {
		return ErrTooLarge
	}
	frame := make([]byte, 4, 4+len(body))
	binary.BigEndian.PutUint32(frame, uint32(len(body)))
	_, err = w.Write(append(frame, body...))
	return err
}

// Read receives one message. It reads no further than the message's end and allocates
// no more than has arrived.
func Read(r io.Reader, message any) error {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return err
	}
	n := int64(binary.BigEndian.Uint32(length[:]))
	if n > MaxMessage {
		return ErrTooLarge
	}
	body, err := io.ReadAll(io.LimitReader(r, n))
	if err != nil {
		return err
	}
	if int64(len(body)) < n {
		return io.ErrUnexpectedEOF
	}
	if err := json.Unmarshal(body, message); err != nil {
		return fmt.Errorf("decode message: %w", err)
	}
	return nil
}
