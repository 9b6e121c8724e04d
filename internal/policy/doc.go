// Package policy is the reference evaluator of network policy: what the API documents of
// NetworkPolicy, AdminNetworkPolicy, BaselineAdminNetworkPolicy, ClusterNetworkPolicy and
// EgressFirewall say about one connection, in the plainest code that says it. The compiled
// rows are tested against it, and the tools ask it which rule decided.
//
// A connection passes up to three stages, and each of them can drop it:
//
//	Egress          policies that select the source pod
//	EgressFirewall  the firewall of the source's namespace, for what leaves the cluster
//	Ingress         policies that select the destination pod
//
// Egress and Ingress have the same tiers; the first that decides ends the stage:
//
//	Admin           ClusterNetworkPolicy (tier Admin) and AdminNetworkPolicy, by priority
//	NetworkPolicy   isolates the pods that it selects; the union of its rules is let through
//	Baseline        ClusterNetworkPolicy (tier Baseline) by priority, BaselineAdminNetworkPolicy
//	                everything else is allowed
//
// Decisions where the documents leave room:
//
//   - A verdict is about the packet that opens a connection. Policy is stateful: answers
//     belong to the connection and are not judged.
//   - A pod always reaches itself, and a pod's own node always reaches the pod, before any
//     tier is asked, even a rule that fails closed: the kubelet's probes must work.
//     Traffic from a pod to its own node is not exempt; policies can deny it.
//   - Pods on the host network are their node: never subjects, never selected as peers; an
//     IP block or a nodes peer matches their address. Finished pods do not exist,
//     terminating pods do.
//   - Within a tier ANP and CNP are one list. At equal priority ClusterNetworkPolicy comes
//     first (who has both is migrating, and the new object must take effect before the old
//     one is gone), then the older object, then the lesser name. The
//     BaselineAdminNetworkPolicy has no priority and comes last of the Baseline tier. Pass
//     leaves the tier, whichever kind said it.
//   - Whether NetworkPolicy decides, and so whether Baseline is asked, is a question per
//     direction: a pod isolated for egress only has its ingress decided by Baseline.
//   - A named port stands for every container port of the destination pod that has the name
//     (and, in a NetworkPolicy, the protocol). Where the destination has none, the rule does
//     not match.
//   - A rule is taken whole or not at all. A rule with a part that cannot be understood
//     allows nothing if it allows, and denies everything in its direction if it is anything
//     else; the documents ask for this where a peer has no known field, and it is the only
//     reading that never widens. The rest of the policy, and the isolation of the pods that
//     a NetworkPolicy selects, are not affected. Each case is a [Problem].
//   - A policy whose subject cannot be understood selects nothing, as there is nobody it
//     could be applied to.
//   - EgressFirewall is asked after the policies and whatever they said: in OVN-Kubernetes
//     it lives in the other pipeline (to-lport) than rules for egress (from-lport), so an
//     Allow of an AdminNetworkPolicy or NetworkPolicy does not overrule it, nor the reverse.
//     Both have tier 2 there, but never meet in one pipeline: in to-lport the ACLs of a
//     NetworkPolicy are for connections into pods, where the firewall never applies.
package policy
