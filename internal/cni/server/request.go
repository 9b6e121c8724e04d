//go:build linux

package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/ovnkctl/ovnkctl/internal/cni/port"
	"github.com/ovnkctl/ovnkctl/internal/cni/wire"
)

// call is a request that has been checked.
type call struct {
	command string
	version string // CNI version of the answer
	netns   string
	sandbox string
	ifName  string
	pod     Pod
	// valid are the attachments that GC must keep.
	valid map[port.Ref]bool
}

// Limits of what a request may hold, in bytes.
const (
	maxContainerID = 256
	maxIfName      = 15 // IFNAMSIZ without the final zero
	maxPath        = 4096
	maxArgs        = 16 << 10
	maxName        = 253 // of Kubernetes objects
	maxUID         = 128
)

var (
	// containerIDs are as the CNI specification has them.
	containerIDs = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.\-]*$`)
	// objectNames are as Kubernetes has them: DNS subdomains.
	objectNames = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`)
)

// configuration is the part of the network configuration that the server needs.
type configuration struct {
	CNIVersion string `json:"cniVersion"`
	Name       string `json:"name"`
	// ValidAttachments is nil if a runtime does not tell, which is not the same as none.
	ValidAttachments *[]attachment `json:"cni.dev/valid-attachments"`
}

type attachment struct {
	ContainerID string `json:"containerID"`
	IfName      string `json:"ifname"`
}

// parse checks everything that came from outside.
func parse(r wire.Request) (*call, *wire.Error) {
	c := &call{command: r.Command}
	conf, failure := parseConfig(r.Config)
	if failure != nil {
		return nil, failure
	}
	c.version = conf.CNIVersion
	switch r.Command {
	case wire.Status:
		return c, nil
	case wire.GC:
		return c, c.parseAttachments(conf)
	case wire.Add, wire.Check, wire.Del:
	default:
		return nil, wire.Errorf(wire.CodeInvalidEnvironment, "CNI_COMMAND is %.40q: want ADD, DEL, CHECK, GC, STATUS or VERSION", r.Command)
	}
	if err := c.parseSandbox(r); err != nil {
		return nil, &wire.Error{Code: wire.CodeInvalidEnvironment, Msg: r.Command + ": " + err.Error()}
	}
	return c, nil
}

func parseConfig(input []byte) (configuration, *wire.Error) {
	var conf configuration
	if err := json.Unmarshal(input, &conf); err != nil {
		return conf, &wire.Error{
			Code:    wire.CodeDecoding,
			Msg:     fmt.Sprintf("the CNI configuration on standard input is not what the plugin expects: %v", err),
			Details: fmt.Sprintf("it starts with %.80q; ovnkctl node writes it to the runtime's configuration directory", input),
		}
	}
	if conf.CNIVersion == "" {
		conf.CNIVersion = wire.Versions[0]
	}
	if !slices.Contains(wire.Versions, conf.CNIVersion) {
		return conf, wire.Errorf(wire.CodeIncompatibleVersion, "the CNI configuration has cniVersion %.40q: the plugin supports %s",
			conf.CNIVersion, strings.Join(wire.Versions, ", "))
	}
	return conf, nil
}

func (c *call) parseSandbox(r wire.Request) error {
	if len(r.ContainerID) > maxContainerID || !containerIDs.MatchString(r.ContainerID) {
		return fmt.Errorf("CNI_CONTAINERID is %.80q: want letters, digits, '.', '_' and '-', at most %d", r.ContainerID, maxContainerID)
	}
	c.sandbox = r.ContainerID
	c.ifName = r.IfName
	if c.ifName == "" {
		c.ifName = "eth0"
	}
	if err := checkIfName(c.ifName); err != nil {
		return err
	}
	if r.Command == wire.Del {
		// DEL must succeed with whatever a runtime still knows: an empty or useless
		// namespace is one that is gone, and the pod's name is for the log only.
		c.pod, _ = parseArgs(r.Args)
		if checkPath(r.Netns) == nil {
			c.netns = r.Netns
		}
		return nil
	}
	if err := checkPath(r.Netns); err != nil {
		return err
	}
	c.netns = r.Netns
	var err error
	c.pod, err = parseArgs(r.Args)
	return err
}

func checkIfName(name string) error {
	bad := func(r rune) bool { return r == '/' || r == ':' || unicode.IsSpace(r) || !unicode.IsPrint(r) }
	if len(name) > maxIfName || name == "." || name == ".." || strings.ContainsFunc(name, bad) {
		return fmt.Errorf("CNI_IFNAME is %.40q: want the name of an interface, at most %d bytes", name, maxIfName)
	}
	return nil
}

func checkPath(path string) error {
	if len(path) > maxPath || !filepath.IsAbs(path) || strings.ContainsRune(path, 0) {
		return fmt.Errorf("CNI_NETNS is %.80q: want the absolute path of a network namespace", path)
	}
	return nil
}

// parseArgs reads what the kubelet passes about the pod.
func parseArgs(args string) (Pod, error) {
	var p Pod
	if len(args) > maxArgs {
		return p, fmt.Errorf("CNI_ARGS is longer than %d bytes", maxArgs)
	}
	for pair := range strings.SplitSeq(args, ";") {
		key, value, _ := strings.Cut(pair, "=")
		switch key {
		case "K8S_POD_NAMESPACE":
			p.Namespace = value
		case "K8S_POD_NAME":
			p.Name = value
		case "K8S_POD_UID":
			p.UID = value
		}
	}
	for _, field := range []struct{ key, value string }{{"K8S_POD_NAMESPACE", p.Namespace}, {"K8S_POD_NAME", p.Name}} {
		if len(field.value) > maxName || !objectNames.MatchString(field.value) {
			return Pod{}, fmt.Errorf("%s in CNI_ARGS is %.80q: want the name of a Kubernetes object; the plugin serves pods alone", field.key, field.value)
		}
	}
	if len(p.UID) > maxUID || strings.ContainsFunc(p.UID, unicode.IsControl) {
		return Pod{}, fmt.Errorf("K8S_POD_UID in CNI_ARGS is %.80q: want a UID", p.UID)
	}
	return p, nil
}

func (c *call) parseAttachments(conf configuration) *wire.Error {
	if conf.ValidAttachments == nil {
		return wire.Errorf(wire.CodeInvalidConfig, "GC: the configuration has no cni.dev/valid-attachments, so nothing can be told to be invalid")
	}
	c.valid = map[port.Ref]bool{}
	for _, a := range *conf.ValidAttachments {
		if a.ContainerID == "" || a.IfName == "" {
			return &wire.Error{Code: wire.CodeInvalidConfig, Msg: errNoAttachment.Error()}
		}
		c.valid[port.Ref{Sandbox: a.ContainerID, IfName: a.IfName}] = true
	}
	return nil
}

var errNoAttachment = errors.New("GC: an entry of cni.dev/valid-attachments lacks containerID or ifname, so nothing can be told to be invalid")
