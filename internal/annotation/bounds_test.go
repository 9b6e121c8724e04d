package annotation_test

import (
	"testing"

	"github.com/ovnkctl/ovnkctl/internal/annotation"
	"github.com/ovnkctl/ovnkctl/internal/world/plan"
)

func TestBoundsOfNodeIDs(t *testing.T) {
	t.Parallel()
	if annotation.MinNodeID != plan.FirstNodeID || annotation.MaxNodeID != plan.MaxNodeID {
		t.Errorf("annotation says %d to %d, plan says %d to %d", annotation.MinNodeID, annotation.MaxNodeID, plan.FirstNodeID, plan.MaxNodeID)
	}
}
