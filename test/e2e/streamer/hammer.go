package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

const (
	// pace is the time between two connections of hammer.
	pace = 10 * time.Millisecond
	// slow is what a connection takes that lost its first packet: the SYN is sent again after
	// one second. Two busy cores lose some, without anything having been done to the network.
	slow = 900 * time.Millisecond
	// impatience bounds one connection, from its first packet to the answer: the second SYN
	// has to arrive, as the third one is sent after three seconds.
	impatience = 2900 * time.Millisecond
)

// Hammering is what hammer prints.
type Hammering struct {
	Attempts  int    `json:"attempts"`
	Failures  int    `json:"failures"`
	Slow      int    `json:"slow"` // answered, but only after a lost packet
	SlowestMS int64  `json:"slowestMs"`
	First     string `json:"first,omitempty"` // the first failure
}

// hammer makes connections, each of which has to carry one echo.
func hammer(target string, d time.Duration) Hammering {
	var h Hammering
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for start := time.Now(); time.Since(start) < d; <-tick.C {
		began := time.Now()
		err := once(target)
		h.Attempts++
		took := time.Since(began)
		h.SlowestMS = max(h.SlowestMS, took.Milliseconds())
		if err == nil && took >= slow {
			h.Slow++
		}
		if err != nil {
			h.Failures++
			if h.First == "" {
				h.First = fmt.Sprintf("after %s: %v", time.Since(start).Round(time.Millisecond), err)
			}
		}
	}
	return h
}

func once(target string) error {
	c, err := net.DialTimeout("tcp", target, impatience)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(impatience)); err != nil {
		return err
	}
	if _, err := c.Write([]byte("12345678")); err != nil {
		return err
	}
	var echo [8]byte
	_, err = io.ReadFull(c, echo[:])
	return err
}

// ask sends text in a datagram for each line of input, always from the same port, and
// prints what comes back within a second, or an empty line.
func ask(target, text string) error {
	c, err := net.Dial("udp", target)
	if err != nil {
		return err
	}
	defer c.Close()
	lines := bufio.NewScanner(os.Stdin)
	buf := make([]byte, 2048)
	for lines.Scan() {
		_ = c.SetDeadline(time.Now().Add(time.Second))
		_, _ = c.Write([]byte(text)) // what does not arrive shows in the answer
		n, _ := c.Read(buf)
		fmt.Println(string(buf[:n]))
	}
	return lines.Err()
}
