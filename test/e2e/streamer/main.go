// Command streamer measures how a connection fares while parts of the network are
// killed: the server echoes, the client keeps one TCP connection and one UDP flow busy
// and reports the longest silence of each; hammer makes one new connection after another
// and reports how many failed; ask sends one datagram per line of input, from one port;
// listen joins a multicast group and prints what it hears, and tell sends to one.
//
//	streamer serve  PORT
//	streamer client HOST:PORT DURATION
//	streamer hammer HOST:PORT DURATION
//	streamer ask    HOST:PORT TEXT
//	streamer listen GROUP:PORT
//	streamer tell   GROUP:PORT TEXT DURATION
package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// interval is the time between two messages of a flow.
const interval = 20 * time.Millisecond

// Report is what the client prints, one JSON document on standard output.
type Report struct {
	TCP Flow `json:"tcp"`
	UDP Flow `json:"udp"`
}

// Flow is the fate of one flow.
type Flow struct {
	Sent    int    `json:"sent"`
	Echoed  int    `json:"echoed"`
	GapMS   int64  `json:"gapMs"` // longest time without an echo
	Failure string `json:"failure,omitempty"`
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "streamer:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "serve":
		return serve(args[1])
	case len(args) == 3 && args[0] == "client":
		d, err := time.ParseDuration(args[2])
		if err != nil {
			return err
		}
		return client(args[1], d)
	case len(args) == 3 && args[0] == "hammer":
		d, err := time.ParseDuration(args[2])
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(hammer(args[1], d))
	case len(args) == 3 && args[0] == "ask":
		return ask(args[1], args[2])
	case len(args) == 2 && args[0] == "listen":
		return listen(args[1])
	case len(args) == 4 && args[0] == "tell":
		d, err := time.ParseDuration(args[3])
		if err != nil {
			return err
		}
		return tell(args[1], args[2], d)
	}
	return errors.New("usage: streamer serve PORT | streamer client|hammer HOST:PORT DURATION | streamer ask HOST:PORT TEXT | " +
		"streamer listen GROUP:PORT | streamer tell GROUP:PORT TEXT DURATION")
}

func serve(port string) error {
	udp, err := net.ListenPacket("udp", ":"+port)
	if err != nil {
		return err
	}
	go func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := udp.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = udp.WriteTo(buf[:n], from) // a lost echo is what the client measures
		}
	}()
	tcp, err := net.Listen("tcp", ":"+port)
	if err != nil {
		return err
	}
	for {
		c, err := tcp.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			_, _ = io.Copy(c, c)
		}()
	}
}

func client(target string, d time.Duration) error {
	var r Report
	var wg sync.WaitGroup
	for _, f := range []struct {
		network string
		flow    *Flow
	}{{"tcp", &r.TCP}, {"udp", &r.UDP}} {
		wg.Go(func() { f.flow.run(f.network, target, d) })
	}
	wg.Wait()
	return json.NewEncoder(os.Stdout).Encode(r)
}

// run sends a numbered message every interval and notes the longest wait for an echo.
func (f *Flow) run(network, target string, d time.Duration) {
	c, err := net.DialTimeout(network, target, 5*time.Second)
	if err != nil {
		f.Failure = err.Error()
		return
	}
	defer c.Close()
	end := time.Now().Add(d)
	echoes := make(chan time.Time, 1024)
	go read(c, end.Add(2*time.Second), echoes)
	tick := time.NewTicker(interval)
	defer tick.Stop()
	last := time.Now()
	note := func(at time.Time) {
		f.Echoed++
		f.GapMS = max(f.GapMS, at.Sub(last).Milliseconds())
		last = at
	}
	for time.Now().Before(end) {
		select {
		case at, ok := <-echoes:
			if !ok {
				f.Failure = "the connection ended early"
				return
			}
			note(at)
		case <-tick.C:
			var msg [8]byte
			binary.BigEndian.PutUint64(msg[:], uint64(f.Sent))
			if err := c.SetWriteDeadline(time.Now().Add(30 * time.Second)); err != nil {
				f.Failure = err.Error()
				return
			}
			if _, err := c.Write(msg[:]); err != nil && network == "tcp" {
				f.Failure = err.Error()
				return
			}
			f.Sent++
		}
	}
	f.GapMS = max(f.GapMS, time.Since(last).Milliseconds())
}

func read(c net.Conn, until time.Time, echoes chan<- time.Time) {
	defer close(echoes)
	_ = c.SetReadDeadline(until)
	buf := make([]byte, 8)
	for {
		if _, err := io.ReadFull(c, buf); err != nil {
			var timeout net.Error
			if c.LocalAddr().Network() == "tcp" || errors.As(err, &timeout) && timeout.Timeout() {
				return
			}
			continue // an ICMP error ends no UDP flow
		}
		echoes <- time.Now()
	}
}
