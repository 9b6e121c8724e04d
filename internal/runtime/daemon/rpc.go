package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/ovnkctl/ovnkctl/internal/config"
)

// call makes one JSON-RPC 1.0 request over a unix socket. OVSDB (RFC 7047) and the
// control sockets of the daemons ("unixctl") both speak it; a client library would cost
// a probe more than the question does.
func call(ctx context.Context, socket, method string, params ...any) (json.RawMessage, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, unreachable(socket, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	answer, err := exchange(conn, method, params)
	if ctx.Err() != nil {
		return nil, fmt.Errorf("%s accepts connections but does not answer: %w", socket, ctx.Err())
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", socket, err)
	}
	return answer, nil
}

func unreachable(socket string, err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%s does not exist: not running, or not ready yet: %w", socket, os.ErrNotExist)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("nobody listens on %s: the daemon is gone: %w", socket, err)
	}
	return fmt.Errorf("connect to %s: %w", socket, err)
}

// message is a request or a response.
type message struct {
	Method string          `json:"method,omitempty"`
	Params json.RawMessage `json:"params,omitempty"`
	ID     json.RawMessage `json:"id"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  json.RawMessage `json:"error,omitempty"`
}

func exchange(conn net.Conn, method string, params []any) (json.RawMessage, error) {
	if params == nil {
		params = []any{} // null is not an array
	}
	request := map[string]any{"method": method, "params": params, "id": 0}
	if err := json.NewEncoder(conn).Encode(request); err != nil {
		return nil, err
	}
	for decoder := json.NewDecoder(conn); ; {
		var m message
		if err := decoder.Decode(&m); err != nil {
			return nil, err
		}
		switch {
		case m.Method == "echo": // the server checks that we are alive
			if err := json.NewEncoder(conn).Encode(map[string]any{"result": m.Params, "error": nil, "id": m.ID}); err != nil {
				return nil, err
			}
		case m.Method != "": // a notification
		case len(m.Error) > 0 && string(m.Error) != "null":
			return nil, &RemoteError{Method: method, Message: text(m.Error)}
		default:
			return m.Result, nil
		}
	}
}

// RemoteError is a request that the daemon understood and refused.
type RemoteError struct{ Method, Message string }

// Error is the daemon's own words.
func (e *RemoteError) Error() string { return fmt.Sprintf("%s: %s", e.Method, e.Message) }

// text is a JSON string without its quotes, or any other JSON as it is.
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return strings.TrimSpace(s)
	}
	return string(raw)
}

// Control sends a command to a daemon's control socket, as ovs-appctl does, and returns
// its answer.
func (d Daemon) Control(ctx context.Context, c *config.Config, command string, args ...string) (string, error) {
	socket, err := d.controlSocket(c)
	if err != nil {
		return "", err
	}
	params := make([]any, len(args))
	for i, a := range args {
		params[i] = a
	}
	answer, err := call(ctx, socket, command, params...)
	if err != nil {
		return "", err
	}
	return text(answer), nil
}

// controlSocket is named after the pid in the daemon's own pid namespace, as the pid
// file is; so it works from other containers, where ovs-appctl does not.
func (d Daemon) controlSocket(c *config.Config) (string, error) {
	if d.Name == "nb" || d.Name == "sb" {
		return filepath.Join(d.runDir(c), d.fileName()+".ctl"), nil
	}
	data, err := os.ReadFile(d.pidFile(c))
	if errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("%s is not running: there is no %s: %w", d.program, d.pidFile(c), os.ErrNotExist)
	}
	if err != nil {
		return "", err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return "", fmt.Errorf("%s holds no process id: %.20q", d.pidFile(c), data)
	}
	return filepath.Join(d.runDir(c), fmt.Sprintf("%s.%d.ctl", d.fileName(), pid)), nil
}
