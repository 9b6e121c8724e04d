package node

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"
)

// restartPause is what a distribution's service files wait, too.
const restartPause = time.Second

// startPatience bounds the wait for what a service needs: a kubelet can also
// start without its API server, only less smoothly.
const startPatience = 60 * time.Second

// keeper starts services, restarts them when they end, and reaps every orphan
// of the node, as pid 1 must.
type keeper struct {
	mu      sync.Mutex
	running map[int]service
}

func supervise(services []service) error {
	// Before the first child, so that no end is missed.
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	k := &keeper{running: map[int]service{}}
	for _, s := range services {
		go func() {
			for _, a := range s.After {
				waitFor(a)
			}
			k.start(s)
		}()
	}
	for range children {
		k.reap()
	}
	return errors.New("signals ended")
}

func (k *keeper) start(s service) {
	k.mu.Lock() // a service that ends at once must be known to reap
	defer k.mu.Unlock()
	log, err := os.OpenFile(s.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: log: %v\n", s.Name, err)
		return
	}
	defer log.Close() //nolint:errcheck // the service has its own descriptor
	p, err := os.StartProcess(s.Argv[0], s.Argv, &os.ProcAttr{
		Dir: "/", Files: []*os.File{nil, log, log}, Env: os.Environ(), Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", s.Name, err)
		return
	}
	k.running[p.Pid] = s
	fmt.Fprintf(os.Stderr, "%s: started as pid %d\n", s.Name, p.Pid)
	_ = p.Release() // reap waits for it
}

func (k *keeper) reap() {
	for {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ws, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		k.mu.Lock()
		s, ours := k.running[pid]
		delete(k.running, pid)
		k.mu.Unlock()
		if !ours {
			continue
		}
		fmt.Fprintf(os.Stderr, "%s: pid %d ended (exit %d, signal %v), starting it again\n", s.Name, pid, ws.ExitStatus(), ws.Signal())
		time.AfterFunc(restartPause, func() { k.start(s) })
	}
}

// waitFor waits until a socket accepts connections.
func waitFor(address string) {
	network, addr, _ := strings.Cut(address, ":")
	for end := time.Now().Add(startPatience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		c, err := net.DialTimeout(network, addr, time.Second)
		if err == nil {
			_ = c.Close() // it was only a question
			return
		}
	}
	fmt.Fprintf(os.Stderr, "%s does not answer, going on\n", address)
}
