// Package controlplane runs etcd, the API server, the controller manager and
// the scheduler in node 1's network namespace, as on a real control-plane
// node: the API server reaches pods and webhooks the way that node does. They
// are outside the node's other namespaces.
package controlplane

import (
	"fmt"
	"path/filepath"

	"github.com/ovnkctl/ovnkctl/test/sandbox/plan"
)

// Names of the processes, in the order in which they start.
const (
	etcd      = "etcd"
	apiserver = "kube-apiserver"
	manager   = "kube-controller-manager"
	scheduler = "kube-scheduler"
)

// Names lists the processes of the control plane.
func Names() []string { return []string{etcd, apiserver, manager, scheduler} }

// etcdClient is on the loopback of node 1's network namespace.
const etcdClient = "http://127.0.0.1:2379"

// args are the arguments of every process; paths are files of the PKI.
type args struct {
	plan  plan.Plan
	pki   string
	state string // folder of etcd's data and of the kubeconfigs
}

func (a args) cert(name string) string { return filepath.Join(a.pki, name+".crt") }
func (a args) key(name string) string  { return filepath.Join(a.pki, name+".key") }
func (a args) conf(name string) string { return filepath.Join(a.state, name+".kubeconfig") }

func (a args) etcd() []string {
	const peer = "http://127.0.0.1:2380"
	return []string{
		"--name=default", "--data-dir=" + filepath.Join(a.state, "etcd"),
		"--listen-client-urls=" + etcdClient, "--advertise-client-urls=" + etcdClient,
		"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer, "--initial-cluster=default=" + peer,
		// The data need not survive a power failure of the machine.
		"--unsafe-no-fsync", "--log-level=warn",
	}
}

func (a args) apiserver() []string {
	// Any address: the network moves node 1's addresses from its NIC to a bridge and back.
	bind := "::"
	if a.plan.Family == plan.IPv4 {
		bind = "0.0.0.0"
	}
	return []string{
		"--etcd-servers=" + etcdClient,
		"--bind-address=" + bind, fmt.Sprintf("--secure-port=%d", plan.APIPort),
		"--advertise-address=" + a.plan.Node(1)[0].Addr().String(),
		"--tls-cert-file=" + a.cert(apiserver), "--tls-private-key-file=" + a.key(apiserver), "--client-ca-file=" + a.cert("ca"),
		"--kubelet-client-certificate=" + a.cert(kubeletClient), "--kubelet-client-key=" + a.key(kubeletClient),
		"--kubelet-preferred-address-types=InternalIP",
		"--service-cluster-ip-range=" + plan.Join(a.plan.Services()),
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + filepath.Join(a.pki, "sa.pub"), "--service-account-signing-key-file=" + a.key("sa"),
		"--requestheader-client-ca-file=" + a.cert("ca"), "--requestheader-allowed-names=" + frontProxy,
		"--requestheader-extra-headers-prefix=X-Remote-Extra-", "--requestheader-group-headers=X-Remote-Group",
		"--requestheader-username-headers=X-Remote-User",
		"--proxy-client-cert-file=" + a.cert(frontProxy), "--proxy-client-key-file=" + a.key(frontProxy),
		// Aggregated APIs are dialled at their endpoints: pods can be reached before cluster IPs can.
		"--enable-aggregator-routing=true",
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true", "--profiling=false",
	}
}

func (a args) manager() []string {
	return append(a.client(manager),
		"--use-service-account-credentials=true", "--root-ca-file="+a.cert("ca"),
		"--service-account-private-key-file="+a.key("sa"),
		"--cluster-signing-cert-file="+a.cert("ca"), "--cluster-signing-key-file="+a.key("ca"),
		// The network allocates the nodes' pod subnets itself.
		"--allocate-node-cidrs=false",
		"--service-cluster-ip-range="+plan.Join(a.plan.Services()),
		// The ConfigMap that it looks up appears a moment after the API server is ready.
		"--authentication-tolerate-lookup-failure=true",
	)
}

func (a args) scheduler() []string { return a.client(scheduler) }

// client is what the components have in common that talk to the API server.
func (a args) client(name string) []string {
	conf := a.conf(name)
	return []string{
		"--kubeconfig=" + conf, "--authentication-kubeconfig=" + conf, "--authorization-kubeconfig=" + conf,
		"--bind-address=127.0.0.1", "--leader-elect=false",
	}
}
