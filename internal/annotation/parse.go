package annotation

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// encodeJSON cannot fail: all that is encoded here are maps, slices and structs of
// texts and numbers.
func encodeJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// decodeJSON reads JSON other than null into v; want describes what should be there.
func decodeJSON(text string, v any, want string) error {
	if text == "null" {
		return errors.New("want " + want)
	}
	err := json.Unmarshal([]byte(text), v)
	if mismatch := new(json.UnmarshalTypeError); errors.As(err, &mismatch) {
		where := ""
		if mismatch.Field != "" {
			where = fmt.Sprintf(" at %q", mismatch.Field)
		}
		return fmt.Errorf("want %s; there is a JSON %s%s", want, mismatch.Value, where)
	}
	if err != nil {
		return fmt.Errorf("want %s: %w", want, err)
	}
	return nil
}

func encodeList[T fmt.Stringer](values []T) string {
	if len(values) == 0 {
		return "[]"
	}
	return encodeJSON(texts(values))
}

func decodeList[T any](text string, parse func(string) (T, error), want string) ([]T, error) {
	var list []string
	if err := decodeJSON(text, &list, want); err != nil {
		return nil, err
	}
	return parseEach(list, parse)
}

// familiesJSON is how one address or subnet per family is written.
type familiesJSON struct {
	IPv4 string `json:"ipv4,omitempty"`
	IPv6 string `json:"ipv6,omitempty"`
}

func encodeFamilies(prefixes []netip.Prefix) string {
	var j familiesJSON
	for _, p := range prefixes {
		if p.Addr().Is4() {
			j.IPv4 = p.String()
		} else {
			j.IPv6 = p.String()
		}
	}
	return encodeJSON(j)
}

func decodeFamilies(text string) ([]netip.Prefix, error) {
	var j familiesJSON
	if err := decodeJSON(text, &j, `a JSON object such as {"ipv4":"172.18.0.3/16"}`); err != nil {
		return nil, err
	}
	var prefixes []netip.Prefix
	for _, f := range []struct {
		key, value string
		is4        bool
	}{{"ipv4", j.IPv4, true}, {"ipv6", j.IPv6, false}} {
		if f.value == "" {
			continue
		}
		p, err := parseInterfaceAddr(f.value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.key, err)
		}
		if p.Addr().Is4() != f.is4 {
			return nil, fmt.Errorf("%s: %s is of the other family", f.key, p)
		}
		prefixes = append(prefixes, p)
	}
	if prefixes == nil {
		return nil, errors.New("it has neither ipv4 nor ipv6")
	}
	return prefixes, nil
}

// texts is nil for no values, which JSON of OVN-Kubernetes has as null or not at all.
func texts[T fmt.Stringer](values []T) []string {
	var list []string
	for _, v := range values {
		list = append(list, v.String())
	}
	return list
}

// textsAndOnly also gives the only text, empty when there is not exactly one.
func textsAndOnly[T fmt.Stringer](values []T) (list []string, only string) {
	list = texts(values)
	if len(list) == 1 {
		only = list[0]
	}
	return list, only
}

// addrText is empty for the zero address.
func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func parseEach[T any](list []string, parse func(string) (T, error)) ([]T, error) {
	var values []T
	for _, text := range list {
		v, err := parse(text)
		if err != nil {
			return nil, err
		}
		values = append(values, v)
	}
	return values, nil
}

// parseWithOnly reads a list beside its singular form of old writers, which must agree.
func parseWithOnly[T any](list []string, only string, parse func(string) (T, error)) ([]T, error) {
	switch {
	case only == "":
	case len(list) == 0:
		list = []string{only}
	case only != list[0]:
		return nil, fmt.Errorf("the singular form says %q, the list %q", only, list)
	}
	return parseEach(list, parse)
}

func parseAddr(text string) (netip.Addr, error) {
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" || a.Is4In6() {
		return netip.Addr{}, fmt.Errorf("%q is not an IP address", text)
	}
	return a, nil
}

// parseInterfaceAddr reads an address with the prefix length of its network.
func parseInterfaceAddr(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil || p.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("%q is not an IP address with a prefix length", text)
	}
	return p, nil
}

// parseSubnet reads a subnet, whose host bits are zero.
func parseSubnet(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil || p.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("%q is not a subnet", text)
	}
	if p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("%q is not a subnet: its first address is %s", text, p.Masked())
	}
	return p, nil
}

func onePerFamily(prefixes []netip.Prefix) error {
	var v4, v6 int
	for _, p := range prefixes {
		if p.Addr().Is4() {
			v4++
		} else {
			v6++
		}
	}
	if v4 > 1 || v6 > 1 {
		return fmt.Errorf("%v has more than one entry of a family", prefixes)
	}
	return nil
}

func parseMAC(text string) (string, error) {
	mac, err := net.ParseMAC(text)
	if err != nil || len(mac) != 6 {
		return "", fmt.Errorf("%q is not a MAC address", text)
	}
	return mac.String(), nil
}
