package install

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestCleanupPod: it has the rights and mounts of what set the host up, but no token, and
// ends up on its node whatever the state of the cluster is.
func TestCleanupPod(t *testing.T) {
	t.Parallel()
	r := testRender(t, "image.pullSecrets[0].name=registry", "datapath=netdev")
	template, err := agentTemplate(r.objects)
	if err != nil {
		t.Fatal(err)
	}
	pod, err := cleanupPod(template, strings.Repeat("n", 253), DefaultNamespace, "1-2")
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(template.Spec.Containers, func(c corev1.Container) bool { return c.Name == agentContainer })
	agent, c := template.Spec.Containers[i], pod.Spec.Containers[0]
	if c.Image != agent.Image || c.SecurityContext != agent.SecurityContext || pod.Spec.ImagePullSecrets[0].Name != "registry" {
		t.Errorf("it is not the agent: %+v", c)
	}
	if pod.Spec.NodeName != strings.Repeat("n", 253) || !pod.Spec.HostNetwork || pod.Spec.RestartPolicy != corev1.RestartPolicyOnFailure ||
		len(pod.Spec.Tolerations) != 1 || pod.Spec.Tolerations[0].Key != "" {
		t.Errorf("%+v", pod.Spec)
	}
	if len(pod.Name) > 63 || pod.Name == cleanupName("other", "1-2") || pod.Name == cleanupName(pod.Spec.NodeName, "1-3") {
		t.Errorf("name %s", pod.Name)
	}
	var mounts []string
	for _, m := range c.VolumeMounts {
		mounts = append(mounts, m.MountPath)
		if !slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name }) {
			t.Errorf("no volume %s", m.Name)
		}
	}
	slices.Sort(mounts)
	want := []string{"/etc/cni/net.d", "/etc/ovn", "/etc/ovnkctl", "/host/proc/sys/net", "/opt/cni/bin", "/run/netns", "/run/openvswitch", "/run/ovn", "/run/ovn-kubernetes", "/tmp", "/var/lib/ovnkctl"}
	if !slices.Equal(mounts, want) {
		t.Errorf("mounts %v, want %v", mounts, want)
	}
	if slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Projected != nil }) {
		t.Error("it has a token")
	}
}

func TestRemovalLeavesAnnotationsOfUsers(t *testing.T) {
	t.Parallel()
	n := node("n1", "192.0.2.1")
	if removal(n) != nil {
		t.Error("a patch for nothing")
	}
	n.Annotations = map[string]string{"k8s.ovn.org/node-id": "2", "k8s.ovn.org/node-ingress-snat-exclude-subnets": "[]"}
	if got, want := string(removal(n)), `{"metadata":{"annotations":{"k8s.ovn.org/node-id":null}}}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
