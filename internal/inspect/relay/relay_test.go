package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair is a client and a relay with a stream between them.
func pair(t *testing.T, c Config) *Client {
	t.Helper()
	toServer, fromClient := io.Pipe()
	toClient, fromServer := io.Pipe()
	served := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		served <- Serve(ctx, toServer, fromServer, c)
		fromServer.Close()
	}()
	client, err := Dial(ctx, toClient, fromClient, func() error {
		return errors.Join(fromClient.Close(), toClient.Close())
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		client.Close()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		cancel()
	})
	return client
}

// echo is a database that answers with what it is asked.
func echo(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		serving.Wait()
	})
	return path
}

func TestSockets(t *testing.T) {
	t.Parallel()
	client := pair(t, Config{Version: "v1", Sockets: map[string]string{
		"nb": echo(t), "sb": filepath.Join(t.TempDir(), "none"),
	}})
	if client.Version != "v1" {
		t.Errorf("version %q", client.Version)
	}
	var all sync.WaitGroup
	for i := range 20 { // at the same time
		all.Go(func() {
			c, err := client.Open(t.Context(), "nb")
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			want := strings.Repeat(fmt.Sprint(i), 1<<16)
			go func() { _, _ = io.WriteString(c, want) }()
			got := make([]byte, len(want))
			if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
				t.Errorf("stream %d: %d bytes are not what was sent, %v", i, len(got), err)
			}
		})
	}
	all.Wait()
	if _, err := client.Open(t.Context(), "sb"); err == nil || !strings.Contains(err.Error(), "not running") {
		t.Errorf("a database that is not there: %v", err)
	}
	if _, err := client.Open(t.Context(), "../../etc/passwd"); err == nil {
		t.Error("what is no database was opened")
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	client := pair(t, Config{Env: []string{"PATH=/usr/bin:/bin", "WHERE=here"}})
	const limit = 1 << 20
	out, err := client.Run(t.Context(), limit, "sh", "-c", "echo out $WHERE; echo err >&2; exit 7")
	if err != nil || string(out.Stdout) != "out here\n" || string(out.Stderr) != "err" || out.Code != 7 {
		t.Errorf("%+v, %v", out, err)
	}
	out, err = client.Run(t.Context(), limit, "sh", "-c", "head -c 1000000 /dev/zero")
	if err != nil || len(out.Stdout) != 1000000 || out.Code != 0 {
		t.Errorf("%d bytes, code %d, %v", len(out.Stdout), out.Code, err)
	}
	out, err = client.Run(t.Context(), 1000, "sh", "-c", "cat /dev/zero")
	if !errors.Is(err, ErrTooMuch) || len(out.Stdout) != 1000 {
		t.Errorf("endless output: %d bytes, %v", len(out.Stdout), err)
	}
	if _, err = client.Run(t.Context(), limit, "no-such-program"); err == nil || !strings.Contains(err.Error(), "no-such-program") {
		t.Errorf("no such program: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err = client.Run(ctx, limit, "sleep", "60"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a program that does not end: %v", err)
	}
}

func TestDialEndsWithItsContext(t *testing.T) {
	t.Parallel()
	toClient, nobody := io.Pipe()
	toNobody, fromClient := io.Pipe()
	go func() { _, _ = io.Copy(io.Discard, toNobody) }()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Dial(ctx, toClient, fromClient, func() error {
		return errors.Join(toClient.Close(), fromClient.Close(), nobody.Close())
	}); err == nil {
		t.Error("greeted by nobody")
	}
}

func TestDialHearsNonsense(t *testing.T) {
	t.Parallel()
	fromClient, toNobody := io.Pipe()
	go func() { _, _ = io.Copy(io.Discard, fromClient) }()
	_, err := Dial(t.Context(), strings.NewReader("Error: unknown command \"relay\" for \"ovnkctl run\"\n"), toNobody, func() error {
		return errors.Join(fromClient.Close(), toNobody.Close())
	})
	if err == nil {
		t.Error("greeted by an error message")
	}
}
