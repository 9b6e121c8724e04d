package dns

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	headerSize = 12 // bytes of a message's header (RFC 1035, 4.1.1)
	// maxChain is how many aliases are followed: resolvers give up earlier.
	maxChain = 16
	// Zone transfers are answered by more than one message (RFC 5936, RFC 1995).
	typeIXFR dnsmessage.Type = 251
	typeAXFR dnsmessage.Type = 252
)

// question is what a query asks for.
type question struct {
	name string // in lower case, without the final dot
	kind dnsmessage.Type
}

// found is an address that an answer gives.
type found struct {
	addr netip.Addr
	ttl  time.Duration
}

// questionOf reads the question of a query; ok is false when it has none, or several, or
// its name is none that a policy can speak of.
func questionOf(msg []byte) (q question, ok bool) {
	var p dnsmessage.Parser
	h, err := p.Start(msg)
	if err != nil || h.OpCode != 0 {
		return question{}, false
	}
	all, err := p.AllQuestions()
	if err != nil || len(all) != 1 || all[0].Class != dnsmessage.ClassINET {
		return question{}, false
	}
	name := canonical(all[0].Name)
	return question{name, all[0].Type}, usable(name)
}

func canonical(n dnsmessage.Name) string { return strings.TrimSuffix(strings.ToLower(n.String()), ".") }

// usable tells names that policies can have, and that a line of text can hold.
func usable(name string) bool {
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return name != ""
}

// answers tells whether a response belongs to a query: a stranger would have to guess the
// number of it and, as far as the server repeats it, the question.
func answers(query, response []byte) bool {
	const isResponse = 0x80 // of the third byte
	if len(query) < headerSize || len(response) < headerSize || response[2]&isResponse == 0 || [2]byte(query) != [2]byte(response) {
		return false
	}
	var q, r dnsmessage.Parser
	if _, err := q.Start(query); err != nil {
		return true
	}
	asked, err := q.AllQuestions()
	if err != nil {
		return true // what the server does not understand either
	}
	if _, err := r.Start(response); err != nil {
		return false
	}
	repeated, err := r.AllQuestions()
	if err != nil {
		return false
	}
	return len(repeated) == 0 || slices.EqualFunc(asked, repeated, func(a, b dnsmessage.Question) bool {
		return a.Type == b.Type && a.Class == b.Class && strings.EqualFold(a.Name.String(), b.Name.String())
	})
}

// addresses are what a response says that the name asked for has, be it by way of aliases:
// A and AAAA records, and the hints of HTTPS and SVCB records, to which clients may connect
// without asking further. Names that merely stand in the response are not believed: whoever
// serves one domain could speak of another.
func addresses(response []byte, name string) ([]found, error) {
	var p dnsmessage.Parser
	if _, err := p.Start(response); err != nil {
		return nil, err
	}
	if err := p.SkipAllQuestions(); err != nil {
		return nil, err
	}
	records, err := p.AllAnswers()
	if err != nil {
		return nil, err
	}
	names := chain(records, name)
	var out []found
	for _, r := range records {
		if r.Header.Class != dnsmessage.ClassINET || !slices.Contains(names, canonical(r.Header.Name)) {
			continue
		}
		for _, a := range recordAddrs(r.Body) {
			out = append(out, found{a, time.Duration(r.Header.TTL) * time.Second})
		}
	}
	return out, nil
}

// chain is the name and what it is an alias for.
func chain(records []dnsmessage.Resource, name string) []string {
	names := []string{name}
	for len(names) <= maxChain {
		next := ""
		for _, r := range records {
			if c, ok := r.Body.(*dnsmessage.CNAMEResource); ok && canonical(r.Header.Name) == names[len(names)-1] {
				next = canonical(c.CNAME)
				break
			}
		}
		if next == "" || slices.Contains(names, next) {
			break
		}
		names = append(names, next)
	}
	return names
}

func recordAddrs(body dnsmessage.ResourceBody) []netip.Addr {
	switch r := body.(type) {
	case *dnsmessage.AResource:
		return []netip.Addr{netip.AddrFrom4(r.A)}
	case *dnsmessage.AAAAResource:
		return []netip.Addr{netip.AddrFrom16(r.AAAA)}
	case *dnsmessage.SVCBResource:
		return hints(r)
	case *dnsmessage.HTTPSResource:
		return hints(&r.SVCBResource)
	}
	return nil
}

// hints are the addresses of a service binding (RFC 9460, 7.3).
func hints(r *dnsmessage.SVCBResource) []netip.Addr {
	var out []netip.Addr
	for _, h := range []struct {
		key  dnsmessage.SVCParamKey
		size int
	}{{dnsmessage.SVCParamIPv4Hint, 4}, {dnsmessage.SVCParamIPv6Hint, 16}} {
		value, _ := r.GetParam(h.key)
		for a := range slices.Chunk(value, h.size) {
			if addr, ok := netip.AddrFromSlice(a); ok && len(a) == h.size {
				out = append(out, addr)
			}
		}
	}
	return out
}

// truncated tells whether a response is not whole.
func truncated(response []byte) bool {
	const tc = 0x02 // of the third byte
	return len(response) >= headerSize && response[2]&tc != 0
}

// failure is the response that tells a client that no server answered.
func failure(query []byte) []byte {
	const (
		response, recursionAvailable, serverFailure = 0x80, 0x80, 2
		keep                                        = 0x79 // operation and "recursion desired"
	)
	out := make([]byte, headerSize, len(query))
	copy(out, query[:2])
	out[2] = query[2]&keep | response
	out[3] = recursionAvailable | serverFailure
	var p dnsmessage.Parser
	if _, err := p.Start(query); err != nil {
		return out
	}
	if all, err := p.AllQuestions(); err == nil && len(all) == 1 {
		// Questions come right after the header; uncompressed, as there is nothing before.
		if end := headerSize + len(all[0].Name.String()) + 1 + 4; all[0].Name.String() != "." && end <= len(query) {
			binary.BigEndian.PutUint16(out[4:], 1)
			out = append(out, query[headerSize:end]...)
		}
	}
	return out
}

// ask makes the query of the program's own for the addresses of a name.
func ask(name string, kind dnsmessage.Type, id uint16) ([]byte, error) {
	n, err := dnsmessage.NewName(name + ".")
	if err != nil {
		return nil, err
	}
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: id, RecursionDesired: true})
	b.EnableCompression()
	if err := b.StartQuestions(); err != nil {
		return nil, err
	}
	if err := b.Question(dnsmessage.Question{Name: n, Type: kind, Class: dnsmessage.ClassINET}); err != nil {
		return nil, err
	}
	if err := b.StartAdditionals(); err != nil {
		return nil, err
	}
	var h dnsmessage.ResourceHeader
	const payload = 1232 // fits every link without fragments, as DNS Flag Day 2020 has it
	if err := h.SetEDNS0(payload, dnsmessage.RCodeSuccess, false); err != nil {
		return nil, err
	}
	if err := b.OPTResource(h, dnsmessage.OPTResource{}); err != nil {
		return nil, err
	}
	return b.Finish()
}
