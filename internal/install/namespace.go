package install

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

const (
	podSecurityEnforce = "pod-security.kubernetes.io/enforce"
	// createdBy marks the namespace that is ours to delete.
	createdBy      = "app.kubernetes.io/managed-by"
	createdByValue = "ovnkctl"
)

// namespaceObject is no part of the chart: Helm keeps its book inside. Its pods share the
// host's network, which the pod security standards call privileged.
func namespaceObject(name string) *corev1.Namespace {
	return &corev1.Namespace{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
			createdBy:                          createdByValue,
			podSecurityEnforce:                 "privileged",
			"pod-security.kubernetes.io/audit": "privileged",
			"pod-security.kubernetes.io/warn":  "privileged",
		}},
	}
}

func namespaceYAML(name string) string {
	ns := namespaceObject(name)
	data, err := yaml.Marshal(map[string]any{
		"apiVersion": ns.APIVersion, "kind": ns.Kind,
		"metadata": map[string]any{"name": ns.Name, "labels": ns.Labels},
	})
	if err != nil { // three maps of strings
		panic(fmt.Sprintf("install: namespace: %v", err))
	}
	return "---\n" + string(data)
}

// ensureNamespace creates the namespace; one that exists stays as it is.
func (c *cluster) ensureNamespace(ctx context.Context, name string) error {
	_, err := c.kube.CoreV1().Namespaces().Create(ctx, namespaceObject(name), metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("namespace %s: %w", name, err)
	}
	return nil
}
