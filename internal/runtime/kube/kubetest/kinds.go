package kubetest

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/network-policy-api/apis/v1alpha1"
	"sigs.k8s.io/network-policy-api/apis/v1alpha2"

	egressfirewallv1 "github.com/ovnkctl/ovnkctl/api/egressfirewall/v1"
)

// The server also has the kinds that clusters get by definitions, and the definitions
// themselves, of which it knows the metadata only. It has the kinds whether they are defined
// or not: Undefined is what to say without.
func init() {
	crd := schema.GroupVersion{Group: "apiextensions.k8s.io", Version: "v1"}
	for _, add := range []func(*runtime.Scheme) error{v1alpha1.Install, v1alpha2.Install, egressfirewallv1.AddToScheme} {
		utilruntime.Must(add(scheme.Scheme))
	}
	scheme.Scheme.AddKnownTypeWithName(crd.WithKind("CustomResourceDefinition"), &metav1.PartialObjectMetadata{})
	scheme.Scheme.AddKnownTypeWithName(crd.WithKind("CustomResourceDefinitionList"), &metav1.PartialObjectMetadataList{})
	metav1.AddToGroupVersion(scheme.Scheme, crd)
}

// Definition is the CustomResourceDefinition of that name, such as
// egressfirewalls.k8s.ovn.org.
func Definition(name string) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

// Undefined is an API server's answer to a request for a kind that it does not know; see
// Server.Intercept.
func Undefined() *metav1.Status {
	return &metav1.Status{
		Status: metav1.StatusFailure, Code: 404, Reason: metav1.StatusReasonNotFound,
		Message: "the server could not find the requested resource",
	}
}
