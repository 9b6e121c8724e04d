package v1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Name is the only name that an EgressFirewall may have: there is one in a namespace.
const Name = "default"

// EgressFirewall decides which destinations outside of the cluster the pods of its
// namespace may connect to. The first rule that matches a connection decides it. A
// connection that no rule matches is allowed. Connections within the cluster, and answers to
// connections that came from outside, are never affected.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=egressfirewalls,singular=egressfirewall,scope=Namespaced
// +kubebuilder:printcolumn:name="EgressFirewall Status",type=string,JSONPath=".status.status"
// +kubebuilder:validation:XValidation:rule="self.metadata.name == 'default'",message="the EgressFirewall of a namespace must have the name default"
type EgressFirewall struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what the user wants.
	Spec EgressFirewallSpec `json:"spec"`
	// status is what the network made of it.
	// +optional
	Status EgressFirewallStatus `json:"status,omitempty"`
}

// EgressFirewallList is a list of EgressFirewalls.
//
// +kubebuilder:object:root=true
type EgressFirewallList struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []EgressFirewall `json:"items"`
}

// EgressFirewallSpec is the ordered list of rules.
type EgressFirewallSpec struct {
	// egress is the list of rules. The first one that matches decides.
	//
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8000
	Egress []EgressFirewallRule `json:"egress"`
}

// EgressFirewallRule allows or denies connections to a destination.
type EgressFirewallRule struct {
	// type is Allow or Deny.
	Type EgressFirewallRuleType `json:"type"`
	// ports narrows the rule to these ports. Without it the rule is for every connection to
	// the destination, of any protocol.
	//
	// +optional
	// +listType=atomic
	Ports []EgressFirewallPort `json:"ports,omitempty"`
	// to is the destination.
	To EgressFirewallDestination `json:"to"`
}

// EgressFirewallRuleType says what a rule does with the connections that it matches.
//
// +kubebuilder:validation:Enum=Allow;Deny
type EgressFirewallRuleType string

const (
	// EgressFirewallRuleAllow lets matching connections leave the cluster.
	EgressFirewallRuleAllow EgressFirewallRuleType = "Allow"
	// EgressFirewallRuleDeny drops matching connections.
	EgressFirewallRuleDeny EgressFirewallRuleType = "Deny"
)

// EgressFirewallPort is a port of a protocol.
type EgressFirewallPort struct {
	// protocol is TCP, UDP or SCTP.
	//
	// +kubebuilder:validation:Enum=TCP;UDP;SCTP
	Protocol corev1.Protocol `json:"protocol"`
	// port is the destination port.
	//
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port"`
}

// EgressFirewallDestination is where a rule's connections go. Exactly one field is set.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:MaxProperties=1
type EgressFirewallDestination struct {
	// cidrSelector is an address range such as 192.0.2.0/24 or 2001:db8::/64. The part of it
	// that lies within the cluster's own subnets is not affected.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=43
	// +kubebuilder:validation:XValidation:rule="isCIDR(self)",message="not an address range such as 192.0.2.0/24 or 2001:db8::/64"
	CIDRSelector string `json:"cidrSelector,omitempty"`
	// dnsName is a domain name whose current addresses the rule is for. A leading "*."
	// stands for exactly one label: *.example.com is for www.example.com, but neither for
	// example.com nor for a.www.example.com.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:Pattern=`^(\*\.)?([A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?\.)+[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?\.?$`
	DNSName string `json:"dnsName,omitempty"`
	// nodeSelector selects nodes by their labels; the rule is for every address of their
	// hosts. An empty selector selects all nodes.
	//
	// +optional
	NodeSelector *metav1.LabelSelector `json:"nodeSelector,omitempty"`
}

// EgressFirewallStatus is what the network made of an EgressFirewall.
type EgressFirewallStatus struct {
	// status sums up the state of the rules in words.
	//
	// +optional
	Status string `json:"status,omitempty"`
	// messages are details behind the summary.
	//
	// +optional
	// +patchStrategy=merge
	// +listType=set
	Messages []string `json:"messages,omitempty" patchStrategy:"merge"`
	// conditions are the state in a form for programs.
	//
	// +optional
	// +patchMergeKey=type
	// +patchStrategy=merge
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty" patchStrategy:"merge" patchMergeKey:"type"`
}
