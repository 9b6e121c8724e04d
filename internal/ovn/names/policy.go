package names

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/world"
)

// Names of port groups and address sets are words of OVN's expressions: letters, digits, "_"
// and ".", and no digit first.

// Pods is the port group of the node's pods that a selector selects, by the selector's ID.
func (n Network) Pods(id string) string { return n.prefix + "a" + id }

// NamedPort is the port group of those that have a port of that name with that number.
func (n Network) NamedPort(id string, port world.NamedPort, number uint16) string {
	sum := sha256.Sum256([]byte(id + " " + string(port.Protocol) + " " + port.Name))
	return n.prefix + "a" + hex.EncodeToString(sum[:10]) + "_" + strconv.Itoa(int(number))
}

// Nodes is what the address sets of a selector of nodes have before the family.
func (n Network) Nodes(id string) string { return n.prefix + "n" + id }

// Domain is what the address sets of a domain name have before the family.
func (n Network) Domain(d world.DomainName) string {
	sum := sha256.Sum256([]byte(d.String()))
	return n.prefix + "d" + hex.EncodeToString(sum[:10])
}

// AddressSet is the address set of one family that goes with a group; sets never have both.
func AddressSet(group string, is4 bool) string {
	if is4 {
		return group + "_v4"
	}
	return group + "_v6"
}

// Isolated is the port group of the node's pods of a namespace that a NetworkPolicy isolates.
func (n Network) Isolated(namespace string, d world.Direction) string {
	return n.prefix + strings.ToLower(d.String()) + "_deny_" + strings.ReplaceAll(namespace, "-", "_")
}

// LogMeter limits how much ACLs log.
const LogMeter = "acl-logging"

// Undecided is the part of a node's rows that packets meet which no ACL of a tier is about.
const Undecided = "undecided"

// maxACLName is how long the name of an ACL can be.
const maxACLName = 63

// shortKinds are how names of ACLs begin.
var shortKinds = map[world.Kind]string{
	world.KindNetworkPolicy: "NP", world.KindAdminNetworkPolicy: "ANP", world.KindBaselineAdminNetworkPolicy: "BANP",
	world.KindClusterNetworkPolicy: "CNP", world.KindEgressFirewall: "EF",
}

// ACL is the name of a policy rule's ACLs, for logs: "NP:<namespace>:<name>:Ingress:0". It is
// cut off where OVN does not take more.
func ACL(k world.PolicyKey, d world.Direction, index int) string {
	words := []string{shortKinds[k.Kind]}
	if k.Namespace != "" {
		words = append(words, k.Namespace)
	}
	if k.Kind != world.KindEgressFirewall {
		words = append(words, k.Name, d.String())
	}
	return crop(strings.Join(append(words, strconv.Itoa(index)), ":"))
}

// IsolationACL is the name of the ACLs of all isolated pods of a namespace.
func IsolationACL(namespace string, d world.Direction) string {
	return crop("NP:" + namespace + ":" + d.String())
}

// MulticastACL is the name of the ACLs that allow multicast among a namespace's pods; for no
// namespace of those that deny it to everybody else.
func MulticastACL(namespace string, d world.Direction) string {
	if namespace == "" {
		return "Multicast:" + d.String()
	}
	return crop("Multicast:" + namespace + ":" + d.String())
}

func crop(s string) string { return s[:min(len(s), maxACLName)] }
