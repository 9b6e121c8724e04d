// Package shim is the CNI plugin that the container runtime starts: it hands the call
// to the server in the node process and prints the answer. It knows nothing of pods,
// interfaces or Kubernetes, so that a start costs a few milliseconds.
package shim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/cni/wire"
)

// Config is the surroundings of one call.
type Config struct {
	Getenv func(string) string
	Stdin  io.Reader
	Stdout io.Writer
	// Socket is used if the CNI configuration names none.
	Socket string
	// Patience is how long to wait for a server that does not listen, which is how a
	// restart of the node process looks; zero waits as the command deserves.
	Patience time.Duration
}

// retryEvery is the pause between attempts to connect; an attempt costs some 20 µs.
const retryEvery = 50 * time.Millisecond

// patience is how long each command waits for the server to listen. STATUS is a
// question about just that; the others ride out a restart of the node process. DEL is
// repeated by the runtime, so it need not wait as long as ADD, whose failure throws
// away a whole sandbox.
var patience = map[string]time.Duration{
	wire.Add:   10 * time.Second,
	wire.Del:   5 * time.Second,
	wire.Check: 5 * time.Second,
	wire.GC:    5 * time.Second,
}

// settings is the part of the CNI configuration that the shim itself needs.
type settings struct {
	CNIVersion string `json:"cniVersion"`
	Socket     string `json:"socket"`
}

// Run handles one call and returns the exit code.
func Run(c Config) int {
	input, err := io.ReadAll(io.LimitReader(c.Stdin, wire.MaxMessage+1))
	var conf settings
	// A configuration that does not parse is the server's to refuse, with the details.
	_ = json.Unmarshal(input, &conf)
	if conf.CNIVersion == "" {
		conf.CNIVersion = wire.Versions[0]
	}
	if err != nil {
		return fail(c.Stdout, conf.CNIVersion, wire.Errorf(wire.CodeIO, "read the CNI configuration from standard input: %v", err))
	}
	if conf.Socket != "" {
		c.Socket = conf.Socket
	}
	request := wire.Request{
		Command:     c.Getenv("CNI_COMMAND"),
		ContainerID: c.Getenv("CNI_CONTAINERID"),
		Netns:       c.Getenv("CNI_NETNS"),
		IfName:      c.Getenv("CNI_IFNAME"),
		Args:        c.Getenv("CNI_ARGS"),
		Config:      input,
	}
	switch request.Command {
	case wire.Version:
		return printVersions(c.Stdout)
	case "":
		return fail(c.Stdout, conf.CNIVersion, wire.Errorf(wire.CodeInvalidEnvironment,
			"CNI_COMMAND is not set: this program is a CNI plugin that the container runtime starts; operators want ovnkctl"))
	}
	response, failure := call(c, request)
	switch {
	case failure != nil:
		return fail(c.Stdout, conf.CNIVersion, failure)
	case response.Error != nil:
		return fail(c.Stdout, conf.CNIVersion, response.Error)
	}
	if len(response.Result) > 0 {
		if _, err := c.Stdout.Write(response.Result); err != nil {
			return 1
		}
	}
	return 0
}

// call takes the request to the server and waits for the answer.
func call(c Config, request wire.Request) (*wire.Response, *wire.Error) {
	wait := c.Patience
	if wait == 0 {
		wait = patience[request.Command]
	}
	conn, err := connect(c.Socket, wait)
	if err != nil {
		return nil, unreachable(request.Command, c.Socket, wait, err)
	}
	defer func() { _ = conn.Close() }()
	// The server gives up by itself after wire.Limit and says why; the margin lets its
	// answer through.
	if err := conn.SetDeadline(time.Now().Add(wire.Limit + 5*time.Second)); err != nil {
		return nil, wire.Errorf(wire.CodeIO, "set the deadline of the call to the node's CNI server: %v", err)
	}
	if err := wire.Write(conn, request); err != nil {
		return nil, wire.Errorf(wire.CodeTryAgain, "send %s to the node's CNI server: %v", request.Command, err)
	}
	var response wire.Response
	if err := wire.Read(conn, &response); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, wire.Errorf(wire.CodeTryAgain,
				"the node's CNI server ended while it handled %s; the runtime will try again: see the log of container ovnkube-controller in pod ovnkube-node of this node", request.Command)
		}
		return nil, wire.Errorf(wire.CodeTryAgain, "wait for the node's CNI server to answer %s: %v", request.Command, err)
	}
	return &response, nil
}

func connect(socket string, wait time.Duration) (net.Conn, error) {
	deadline := time.Now().Add(wait)
	for {
		conn, err := net.Dial("unix", socket)
		if err == nil || !time.Now().Before(deadline) {
			return conn, err
		}
		time.Sleep(retryEvery)
	}
}

func unreachable(command, socket string, waited time.Duration, err error) *wire.Error {
	code := uint(wire.CodeTryAgain)
	if command == wire.Status {
		code = wire.CodeNotAvailable
	}
	return &wire.Error{
		Code: code,
		Msg: fmt.Sprintf("%s: the node's CNI server does not answer on %s (tried for %s): is container ovnkube-controller of this node's ovnkube-node pod running? The runtime will try again",
			command, socket, waited),
		Details: err.Error(),
	}
}

func printVersions(w io.Writer) int {
	newest := wire.Versions[len(wire.Versions)-1]
	return encode(w, map[string]any{"cniVersion": newest, "supportedVersions": wire.Versions})
}

func fail(w io.Writer, version string, e *wire.Error) int {
	_ = encode(w, map[string]any{"cniVersion": version, "code": e.Code, "msg": e.Msg, "details": e.Details})
	return 1
}

func encode(w io.Writer, v any) int {
	if err := json.NewEncoder(w).Encode(v); err != nil {
		return 1
	}
	return 0
}
