package policyapi

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
)

// A kernel without SCTP has no such sockets: the suites' servers for it end at once, so that
// their pods never become ready, and their clients cannot ask. Many tests ask by TCP, UDP
// and SCTP in turn. For such machines the suites are compiled from a copy of the module
// without the servers, and with a client that says that it leaves SCTP out; all else is as
// it was.

// mark is in the line that tells of a check that was left out.
const mark = "left out: no SCTP in this kernel:"

// withoutSCTP are the changes, by file below the folder conformance of the module.
var withoutSCTP = map[string]func([]byte) ([]byte, error){
	"utils/kubernetes/helper.go": withoutChecks,
	"base/manifests.yaml":        withoutServers,
}

// poke is the beginning of the function that checks a connection; it returns whether it is as
// it should be, or fails the test itself.
var poke = regexp.MustCompile(`(?m)^func PokeServer\(.*protocol, targetHost string, targetPort int32.*\)( bool)? \{\n`)

// withoutChecks has the function that checks say yes to SCTP.
func withoutChecks(source []byte) ([]byte, error) {
	found := poke.FindAllSubmatchIndex(source, -1)
	if len(found) != 1 {
		return nil, fmt.Errorf("%d functions look like the one that checks a connection, not 1", len(found))
	}
	at, yes := found[0][1], "return"
	if found[0][2] >= 0 {
		yes = "return true"
	}
	added := fmt.Sprintf("\tif protocol == \"sctp\" {\n\t\tt.Logf(\"%s %%s/%%s to %%s:%%d\", clientNamespace, clientPod, targetHost, targetPort)\n\t\t%s\n\t}\n", mark, yes)
	return bytes.Join([][]byte{source[:at], source[at:]}, []byte(added)), nil
}

var (
	container  = regexp.MustCompile(`^ {8}- name: `)
	inside     = regexp.MustCompile(`^ {9,}`)
	sctpServer = []byte("SERVE_SCTP_PORT_")
)

// withoutServers drops the containers that serve SCTP. The text is a template, which no YAML
// parser reads.
func withoutServers(manifest []byte) ([]byte, error) {
	var out, block []byte
	dropped := 0
	end := func() {
		if bytes.Contains(block, sctpServer) {
			dropped++
		} else {
			out = append(out, block...)
		}
		block = nil
	}
	for line := range bytes.Lines(manifest) {
		switch {
		case container.Match(line):
			end()
			block = append(block, line...)
		case block != nil && inside.Match(line):
			block = append(block, line...)
		default:
			end()
			out = append(out, line...)
		}
	}
	end()
	if dropped == 0 {
		return nil, errors.New("no container serves SCTP: the manifest has another form by now")
	}
	if bytes.Contains(out, sctpServer) {
		return nil, errors.New("something that is no container serves SCTP: the manifest has another form by now")
	}
	return out, nil
}
