//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/cni/wire"
	"github.com/ovnkctl/ovnkctl/test/sandbox/netspace"
)

// cniConf is what the runtime gives to the plugin.
var cniConf = []byte(`{"cniVersion":"1.0.0","name":"ovn-kubernetes","type":"ovn-k8s-cni-overlay","socket":"` + wire.DefaultSocket + `"}`)

func (p *pod) args() string {
	return "IgnoreUnknown=1;K8S_POD_NAMESPACE=" + namespace + ";K8S_POD_NAME=" + p.name + ";K8S_POD_INFRA_CONTAINER_ID=" + p.sandbox + ";K8S_POD_UID=" + p.uid
}

// call asks the server directly, without the shim, and tells how long it took.
func (p *pod) call(command string) (time.Duration, error) {
	start := time.Now()
	conn, err := net.Dial("unix", wire.DefaultSocket)
	if err != nil {
		return 0, fmt.Errorf("CNI server: %w", err)
	}
	defer conn.Close() //nolint:errcheck // everything was read
	err = wire.Write(conn, wire.Request{
		Command: command, ContainerID: p.sandbox, Netns: netspace.Path(p.netns), IfName: "eth0", Args: p.args(), Config: cniConf,
	})
	if err != nil {
		return 0, fmt.Errorf("CNI %s: %w", command, err)
	}
	var r wire.Response
	if err := wire.Read(conn, &r); err != nil {
		return 0, fmt.Errorf("CNI %s: %w", command, err)
	}
	took := time.Since(start)
	if r.Error != nil {
		return took, fmt.Errorf("CNI %s of %s: %w", command, p.name, r.Error)
	}
	if command == wire.Add {
		var result cniResult
		if err := json.Unmarshal(r.Result, &result); err != nil || len(result.IPs) == 0 {
			return took, fmt.Errorf("CNI ADD of %s: no addresses in the result %s", p.name, r.Result)
		}
		p.addrs = p.addrs[:0]
		for _, ip := range result.IPs {
			p.addrs = append(p.addrs, ip.Address.Addr())
		}
	}
	return took, nil
}

// callMany makes the same call for all pods at once: when the last had its answer, and
// how long each took. Failed calls are counted, not fatal.
func callMany(command string, pods []*pod) (all time.Duration, each []time.Duration, failed []error) {
	start := time.Now()
	each = make([]time.Duration, len(pods))
	errs := make([]error, len(pods))
	_ = parallel(len(pods), func(i int) error {
		each[i], errs[i] = pods[i].call(command)
		return nil
	})
	all = time.Since(start)
	for _, err := range errs {
		if err != nil {
			failed = append(failed, err)
		}
	}
	return all, each, failed
}

// shimUse is what one call of the plugin binary used.
type shimUse struct {
	WallNanos int64 `json:"wallNanos"`
	CPUNanos  int64 `json:"cpuNanos"`
	MaxRSSKiB int64 `json:"maxRSSKiB"`
}

// shim makes a call by the plugin's binary, as the runtime does.
func (p *pod) shim(binary, command string) (shimUse, error) {
	own, err := os.Executable()
	if err != nil {
		return shimUse{}, err
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		return shimUse{}, err
	}
	defer reader.Close() //nolint:errcheck // only read
	cmd := exec.Command(filepath.Join(filepath.Dir(own), "bench-launch"), binary)
	cmd.Stdin = bytes.NewReader(cniConf)
	cmd.ExtraFiles = []*os.File{writer}
	cmd.Env = []string{
		"CNI_COMMAND=" + command, "CNI_CONTAINERID=" + p.sandbox, "CNI_NETNS=" + netspace.Path(p.netns),
		"CNI_IFNAME=eth0", "CNI_ARGS=" + p.args(), "CNI_PATH=" + filepath.Dir(binary),
	}
	out, runErr := cmd.CombinedOutput()
	_ = writer.Close()
	var use shimUse
	decodeErr := json.NewDecoder(reader).Decode(&use)
	if err := errors.Join(runErr, decodeErr); err != nil {
		return use, fmt.Errorf("%s %s: %w: %s", binary, command, err, out)
	}
	return use, nil
}
