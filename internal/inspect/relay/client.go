package relay

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// Client asks a relay. It is safe for concurrent use.
type Client struct {
	// http is the one connection: a transport would make another when requests come before
	// it has noted that it can share the first.
	http *http.ClientConn
	conn *pipe
	// Version is that of the relay's program.
	Version string
}

// origin is what requests are sent to; there is nobody else at the other end.
const origin = "http://relay"

// Dial greets a relay at the other end of a stream; end must end reads and writes.
func Dial(ctx context.Context, in io.Reader, out io.Writer, end func() error) (*Client, error) {
	c := &Client{conn: newPipe(in, out, end)}
	transport := &http.Transport{
		Protocols:          plainHTTP2(),
		DialContext:        func(context.Context, string, string) (net.Conn, error) { return c.conn, nil },
		DisableCompression: true,
		HTTP2:              &http.HTTP2Config{MaxReceiveBufferPerStream: 4 << 20, MaxReceiveBufferPerConnection: 16 << 20},
	}
	// The greeting must not hang on a stream whose reads do not end with ctx.
	stop := context.AfterFunc(ctx, func() { c.conn.Close() })
	defer stop()
	var err error
	if c.http, err = transport.NewClientConn(ctx, "http", "relay:80"); err != nil {
		c.conn.Close()
		return nil, err
	}
	r, err := c.do(ctx, http.MethodGet, pathHello, nil)
	if err != nil {
		c.Close()
		return nil, err
	}
	defer r.Body.Close()
	if r.Header.Get(headerProtocol) != protocolVersion {
		c.Close()
		return nil, errProtocol
	}
	c.Version = r.Header.Get(headerVersion)
	return c, nil
}

// Close ends the connection, and everything that is asked.
func (c *Client) Close() error {
	err := c.conn.Close() // first: the other end may not take a farewell
	_ = c.http.Close()
	return err
}

// Lost tells whether the connection has ended.
func (c *Client) Lost() bool {
	select {
	case <-c.conn.closed:
		return true
	default:
		return false
	}
}

func (c *Client) do(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	q, err := http.NewRequestWithContext(ctx, method, origin+path, body)
	if err != nil {
		return nil, err
	}
	r, err := c.http.RoundTrip(q)
	if err != nil {
		return nil, err
	}
	if r.StatusCode != http.StatusOK {
		defer r.Body.Close()
		why, _ := io.ReadAll(io.LimitReader(r.Body, 1<<10))
		return nil, fmt.Errorf("%s", strings.TrimSpace(string(why)))
	}
	return r, nil
}

// Open opens a database's socket by short name. The stream ends with ctx.
func (c *Client) Open(ctx context.Context, database string) (io.ReadWriteCloser, error) {
	in, out := io.Pipe()
	ctx, cancel := context.WithCancel(ctx)
	r, err := c.do(ctx, http.MethodPost, pathSocket+database, in)
	if err != nil {
		cancel()
		return nil, err
	}
	return &stream{ReadCloser: r.Body, Writer: out, close: func() {
		cancel()
		out.Close()
	}}, nil
}

type stream struct {
	io.ReadCloser
	io.Writer
	close func()
}

func (s *stream) Close() error {
	s.close()
	return s.ReadCloser.Close()
}

// Result is what a program left.
type Result struct {
	Stdout, Stderr []byte
	Code           int
}

// ErrTooMuch is a program that printed more than was allowed.
var ErrTooMuch = errors.New("it printed more than is kept")

// Run runs a program, whose output is at most limit bytes. There is no error when it ran,
// whatever its exit code; with ErrTooMuch the result has what came before.
func (c *Client) Run(ctx context.Context, limit int64, argv ...string) (Result, error) {
	q, err := json.Marshal(request{Argv: argv})
	if err != nil {
		return Result{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, err := c.do(ctx, http.MethodPost, pathRun, bytes.NewReader(q))
	if err != nil {
		return Result{}, err
	}
	defer r.Body.Close()
	var out Result
	if out.Stdout, err = io.ReadAll(io.LimitReader(r.Body, limit+1)); err != nil {
		return out, err
	}
	if int64(len(out.Stdout)) > limit {
		out.Stdout = out.Stdout[:limit]
		return out, ErrTooMuch
	}
	if out.Code, err = strconv.Atoi(r.Trailer.Get(trailerCode)); err != nil {
		return out, errors.New("the program's exit code is not known: the connection was cut")
	}
	out.Stderr, _ = base64.StdEncoding.DecodeString(r.Trailer.Get(trailerStderr))
	return out, nil
}
