// Package v1 is the EgressFirewall API of the group k8s.ovn.org: which destinations outside
// of the cluster the pods of a namespace may connect to.
//
// +kubebuilder:object:generate=true
// +groupName=k8s.ovn.org
package v1

//go:generate go run sigs.k8s.io/controller-tools/cmd/controller-gen@v0.23.0 object paths=.
//go:generate go run sigs.k8s.io/controller-tools/cmd/controller-gen@v0.23.0 crd paths=. output:crd:dir=../../../deploy/helm/ovnk/definitions
