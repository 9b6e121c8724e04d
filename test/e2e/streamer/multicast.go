package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// hops is enough for the routers of two nodes; packets to groups have one hop if nobody asks
// for more.
const hops = 4

// listen joins a group and prints each text that it hears, and from whom, once.
func listen(group string) error {
	at, err := netip.ParseAddrPort(group)
	if err != nil {
		return err
	}
	dev, err := device()
	if err != nil {
		return err
	}
	c, err := net.ListenMulticastUDP("udp", dev, net.UDPAddrFromAddrPort(at))
	if err != nil {
		return err
	}
	defer c.Close()
	heard := map[string]bool{}
	buf := make([]byte, 2048)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if err != nil {
			return err
		}
		line := fmt.Sprintf("%s %s", buf[:n], from.Addr().Unmap())
		if !heard[line] {
			heard[line] = true
			fmt.Println(line)
		}
	}
}

// device is the interface of the pod's network.
func device() (*net.Interface, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	for _, i := range all {
		if i.Flags&(net.FlagLoopback|net.FlagUp|net.FlagMulticast) == net.FlagUp|net.FlagMulticast {
			return &i, nil
		}
	}
	return nil, errors.New("no interface has multicast")
}

// tell sends a text to a group at a steady pace.
func tell(group, text string, d time.Duration) error {
	dialer := net.Dialer{Control: func(network, _ string, raw syscall.RawConn) (err error) {
		level, option := syscall.IPPROTO_IP, syscall.IP_MULTICAST_TTL
		if network == "udp6" {
			level, option = syscall.IPPROTO_IPV6, syscall.IPV6_MULTICAST_HOPS
		}
		if e := raw.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), level, option, hops) }); e != nil {
			return e
		}
		return err
	}}
	c, err := dialer.Dial("udp", group)
	if err != nil {
		return err
	}
	defer c.Close()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for start := time.Now(); time.Since(start) < d; <-tick.C {
		if _, err := c.Write([]byte(text)); err != nil {
			return err
		}
	}
	return nil
}
