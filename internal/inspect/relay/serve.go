package relay

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Config is what Serve needs.
type Config struct {
	// Sockets are the databases' unix sockets by short name: "nb", "sb", "ovs".
	Sockets map[string]string
	// OVSRunDir and OVNRunDir are where the daemons have their control sockets.
	OVSRunDir, OVNRunDir string
	// Env is the environment of programs, without these directories.
	Env []string
	// Version of this program.
	Version string
	// Run is what programs print, and their exit code; nil runs them.
	Run func(argv []string) (stdout string, code int)
	// Ready returns when there is something to ask, or why there never will be; nil for at
	// once.
	Ready func(context.Context) error
	// Find finds programs; nil looks into PATH.
	Find func(name string) (string, error)
}

// killedAfter is how long a program gets to end after its one who asked has gone.
const killedAfter = time.Second

// Serve answers until the stream ends.
func Serve(ctx context.Context, in io.Reader, out io.Writer, c Config) error {
	ended := make(chan struct{})
	p := newPipe(in, out, func() error { close(ended); return nil })
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+pathHello, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(headerProtocol, protocolVersion)
		w.Header().Set(headerVersion, c.Version)
	})
	mux.HandleFunc("POST "+pathSocket+"{name}", c.whenReady(c.socket))
	mux.HandleFunc("POST "+pathRun, c.whenReady(c.run))
	var tracing sync.WaitGroup
	mux.HandleFunc("POST "+pathTraces, c.whenReady(c.traces(&tracing)))
	server := &http.Server{
		Handler: mux, Protocols: plainHTTP2(), ErrorLog: log.New(io.Discard, "", 0),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: time.Minute,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: 256, MaxReceiveBufferPerStream: 1 << 20},
	}
	defer tracing.Wait()
	defer server.Close()
	go func() {
		select {
		case <-ctx.Done():
			p.Close()
		case <-ended:
		}
	}()
	err := server.Serve(listenOn(p))
	if errors.Is(err, io.EOF) || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// whenReady is an answer that waits until there is something to ask.
func (c Config) whenReady(f http.HandlerFunc) http.HandlerFunc {
	if c.Ready == nil {
		return f
	}
	return func(w http.ResponseWriter, r *http.Request) {
		if err := c.Ready(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		f(w, r)
	}
}

// socket joins the request with a database's socket.
func (c Config) socket(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	path, ok := c.Sockets[name]
	if !ok {
		http.Error(w, "there is no database "+name, http.StatusNotFound)
		return
	}
	conn, err := (&net.Dialer{}).DialContext(r.Context(), "unix", path)
	if err != nil {
		status := http.StatusBadGateway
		if errors.Is(err, os.ErrNotExist) {
			status, err = http.StatusServiceUnavailable, fmt.Errorf("%s does not exist: the database is not running, or not ready yet", path)
		}
		http.Error(w, err.Error(), status)
		return
	}
	defer conn.Close()
	stop := context.AfterFunc(r.Context(), func() { conn.Close() })
	defer stop()
	w.WriteHeader(http.StatusOK)
	flush(w)
	go func() {
		_, _ = io.Copy(conn, r.Body)
		conn.Close() // who asked has gone
	}()
	_, _ = io.Copy(flusher{w}, conn)
}

// request is a program to run.
type request struct {
	Argv []string `json:"argv"`
}

func (c Config) run(w http.ResponseWriter, r *http.Request) {
	var q request
	if err := json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(&q); err != nil || len(q.Argv) == 0 {
		http.Error(w, "no program is named", http.StatusBadRequest)
		return
	}
	c.findControl(q.Argv)
	w.Header().Set("Trailer", trailerCode+", "+trailerStderr)
	if c.Run != nil {
		text, code := c.Run(q.Argv)
		_, _ = io.WriteString(w, text)
		w.Header().Set(trailerCode, strconv.Itoa(code))
		return
	}
	name := q.Argv[0]
	if c.Find != nil {
		found, err := c.Find(name)
		if err != nil {
			w.Header().Del("Trailer")
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		name = found
	}
	cmd := exec.CommandContext(r.Context(), name, q.Argv[1:]...) //nolint:gosec // that is what pods/exec is for
	cmd.Env, cmd.WaitDelay = c.env(), killedAfter
	stderr := &Tail{}
	cmd.Stdout, cmd.Stderr = flusher{w}, stderr
	if err := cmd.Start(); err != nil {
		w.Header().Del("Trailer")
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	err := cmd.Wait()
	code := cmd.ProcessState.ExitCode()
	var exited *exec.ExitError
	if err != nil && !errors.As(err, &exited) {
		fmt.Fprint(stderr, err)
		code = -1
	}
	w.Header().Set(trailerCode, strconv.Itoa(code))
	w.Header().Set(trailerStderr, base64.StdEncoding.EncodeToString([]byte(strings.TrimSpace(stderr.String()))))
}

// findControl replaces the name of a daemon behind -t of ovs-appctl and ovn-appctl by its
// control socket. They find it themselves only in the daemon's own container: elsewhere they
// take the pid file, which a process that they cannot see holds, for a stale one.
func (c Config) findControl(argv []string) {
	dir := map[string]string{"ovs-appctl": c.OVSRunDir, "ovn-appctl": c.OVNRunDir}[argv[0]]
	at := slices.Index(argv, "-t") + 1
	if dir == "" || at == 0 || at == len(argv) || strings.Contains(argv[at], "/") {
		return
	}
	stem := filepath.Join(dir, argv[at])
	if pid, err := os.ReadFile(stem + ".pid"); err == nil {
		if socket := fmt.Sprintf("%s.%s.ctl", stem, strings.TrimSpace(string(pid))); exists(socket) {
			argv[at] = socket
			return
		}
	}
	if exists(stem + ".ctl") {
		argv[at] = stem + ".ctl"
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// flusher sends at once what is written.
type flusher struct{ http.ResponseWriter }

func (f flusher) Write(b []byte) (int, error) {
	n, err := f.ResponseWriter.Write(b)
	flush(f.ResponseWriter)
	return n, err
}

func flush(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() }

// env is the environment of programs, in which those of OVS and OVN find the sockets.
func (c Config) env() []string {
	out := slices.DeleteFunc(slices.Clone(c.Env), func(kv string) bool {
		return strings.HasPrefix(kv, "OVS_RUNDIR=") || strings.HasPrefix(kv, "OVN_RUNDIR=")
	})
	return append(out, "OVS_RUNDIR="+c.OVSRunDir, "OVN_RUNDIR="+c.OVNRunDir)
}
