package live

import (
	"context"
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/ovnkctl/ovnkctl/internal/world"
)

// resource is where the API server has the objects of a kind.
type resource struct {
	client rest.Interface
	plural string
}

// PatchStatus merges a patch into the status of a policy, and tells the version that the
// object has then. NetworkPolicies have no status.
func (p *PolicyClient) PatchStatus(ctx context.Context, key world.PolicyKey, patch []byte) (version string, err error) {
	r, ok := p.statuses[key.Kind]
	if !ok {
		return "", fmt.Errorf("a %s has no status", key.Kind)
	}
	answer, err := r.client.Patch(types.MergePatchType).Resource(r.plural).
		NamespaceIfScoped(key.Namespace, key.Namespace != "").Name(key.Name).SubResource("status").
		Body(patch).Do(ctx).Raw()
	if err != nil {
		return "", err
	}
	var object metav1.PartialObjectMetadata
	if err := json.Unmarshal(answer, &object); err != nil {
		return "", fmt.Errorf("%s %s as the API server has it now: %w", key.Kind, key.Name, err)
	}
	return object.ResourceVersion, nil
}
