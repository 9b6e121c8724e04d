//go:build kube

package install

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// advertised is the address that the API server tells others; it may not be loopback,
// and nobody uses it here (TEST-NET-1).
const advertised = "192.0.2.1"

// startDeadline is how long the control plane may take on a loaded machine.
const startDeadline = 3 * time.Minute

// testCluster is a real control plane on loopback, without nodes: etcd, the API server,
// the controller manager and the scheduler. What a kubelet would do, tests do.
type testCluster struct {
	t     *testing.T
	dir   string
	url   string
	ca    []byte
	flags *genericclioptions.ConfigFlags
	kube  kubernetes.Interface
	ended chan string // names of programs that ended
	up    bool
}

// kubebox is the multi-call program of Kubernetes that the sandbox builds.
func kubebox(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("KUBEBOX"); path != "" {
		return path
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(cache, "ovnkctl", "kube-current", "kubebox")
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: build Kubernetes with `bin/sandbox build kube`, or set KUBEBOX to the program", err)
	}
	return path
}

func newTestCluster(t *testing.T) *testCluster {
	t.Helper()
	etcd, err := exec.LookPath("etcd")
	if err != nil {
		t.Fatal("no etcd: apt-get install etcd-server")
	}
	box := kubebox(t)
	c := &testCluster{t: t, dir: t.TempDir(), ended: make(chan string, 4)}
	pki := c.pki()
	etcdURL, peerURL := "http://"+freeAddress(t), "http://"+freeAddress(t)
	host, port, err := net.SplitHostPort(freeAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	c.url = "https://" + net.JoinHostPort(host, port)

	c.start("etcd", etcd, "--name=default", "--data-dir="+c.dir+"/etcd", "--unsafe-no-fsync",
		"--listen-client-urls="+etcdURL, "--advertise-client-urls="+etcdURL, "--listen-peer-urls="+peerURL,
		"--initial-advertise-peer-urls="+peerURL, "--initial-cluster=default="+peerURL, "--log-level=warn")
	c.await(func() bool { return answers(http.DefaultClient, etcdURL+"/health") })
	c.start("kube-apiserver", box, "kube-apiserver", "--etcd-servers="+etcdURL, "--bind-address="+host, "--advertise-address="+advertised,
		"--secure-port="+port, "--tls-cert-file="+pki+"/server.crt", "--tls-private-key-file="+pki+"/server.key",
		"--token-auth-file="+pki+"/tokens", "--service-cluster-ip-range=10.96.0.0/16,fd00:10:96::/112",
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+pki+"/accounts.pub",
		"--service-account-signing-key-file="+pki+"/accounts.key", "--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction", "--allow-privileged=true", "--profiling=false",
		"--endpoint-reconciler-type=lease")
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: c.roots()}}}
	c.await(func() bool { return answers(client, c.url+"/readyz") })
	c.start("kube-controller-manager", box, "kube-controller-manager", "--kubeconfig="+c.kubeconfig("controller-manager"),
		"--leader-elect=false", "--use-service-account-credentials=true", "--root-ca-file="+pki+"/ca.crt",
		"--service-account-private-key-file="+pki+"/accounts.key", "--secure-port=0", "--controllers=*,-nodelifecycle,-node-lifecycle-controller")
	c.start("kube-scheduler", box, "kube-scheduler", "--kubeconfig="+c.kubeconfig("scheduler"), "--leader-elect=false", "--secure-port=0")

	path := c.kubeconfig("admin")
	c.flags = genericclioptions.NewConfigFlags(true)
	c.flags.KubeConfig = &path
	cacheDir := c.dir + "/cache"
	c.flags.CacheDir = &cacheDir
	config, err := c.flags.ToRESTConfig()
	if err != nil {
		t.Fatal(err)
	}
	config.QPS, config.Burst = 100, 200
	if c.kube, err = kubernetes.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	c.await(func() bool {
		_, err := c.kube.CoreV1().ServiceAccounts("default").Get(t.Context(), "default", metav1.GetOptions{})
		return err == nil
	})
	c.up = true
	return c
}

// start runs a program until the test ends; its output is shown if the test fails.
func (c *testCluster) start(name, program string, args ...string) {
	c.t.Helper()
	log, err := os.Create(filepath.Join(c.dir, name+".log"))
	if err != nil {
		c.t.Fatal(err)
	}
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = c.dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		c.ended <- name
		close(done)
	}()
	c.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
		_ = log.Close()
		if !c.up {
			c.t.Logf("%s said at the end:\n%s", name, tail(log.Name(), 2000))
		}
	})
}

// await polls what cannot be watched: a server that does not listen yet.
func (c *testCluster) await(done func() bool) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), startDeadline)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case name := <-c.ended:
			c.t.Fatalf("%s ended", name)
		case <-ctx.Done():
			c.t.Fatalf("the control plane did not start within %v", startDeadline)
		case <-tick.C:
		}
	}
}

func answers(client *http.Client, url string) bool {
	response, err := client.Get(url)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	return response.StatusCode == http.StatusOK
}

func tail(path string, bytes int64) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if end, err := f.Seek(0, io.SeekEnd); err == nil {
		_, _ = f.Seek(max(0, end-bytes), io.SeekStart)
	}
	data, _ := io.ReadAll(f)
	return string(data)
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// pki writes a CA, the server's certificate, the key of ServiceAccounts and the tokens
// of the programs.
func (c *testCluster) pki() string {
	c.t.Helper()
	dir := c.dir + "/pki"
	must := func(err error) {
		if err != nil {
			c.t.Helper()
			c.t.Fatal(err)
		}
	}
	must(os.Mkdir(dir, 0o700))
	write := func(name, kind string, der []byte) {
		must(os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	}
	newKey := func(name string) *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		must(err)
		der, err := x509.MarshalECPrivateKey(key)
		must(err)
		write(name+".key", "EC PRIVATE KEY", der)
		return key
	}
	accounts, err := x509.MarshalPKIXPublicKey(&newKey("accounts").PublicKey)
	must(err)
	write("accounts.pub", "PUBLIC KEY", accounts)

	caKey := newKey("ca")
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	must(err)
	write("ca.crt", "CERTIFICATE", der)
	c.ca, err = os.ReadFile(dir + "/ca.crt")
	must(err)
	server := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "kube-apiserver"}, NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err = x509.CreateCertificate(rand.Reader, server, ca, &newKey("server").PublicKey, caKey)
	must(err)
	write("server.crt", "CERTIFICATE", der)
	tokens := "admin,admin,1,system:masters\ncontroller-manager,system:kube-controller-manager,2\nscheduler,system:kube-scheduler,3\n"
	must(os.WriteFile(dir+"/tokens", []byte(tokens), 0o600))
	return dir
}

func (c *testCluster) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(c.ca)
	return pool
}

// kubeconfig writes that of a program, whose token is its name.
func (c *testCluster) kubeconfig(name string) string {
	c.t.Helper()
	config := clientcmdapi.NewConfig()
	config.Clusters["test"] = &clientcmdapi.Cluster{Server: c.url, CertificateAuthorityData: c.ca}
	config.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: name}
	config.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: name}
	config.CurrentContext = "test"
	path := fmt.Sprintf("%s/%s.conf", c.dir, name)
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		c.t.Fatal(err)
	}
	return path
}

// as is a client with a bearer token.
func (c *testCluster) as(token string) kubernetes.Interface {
	c.t.Helper()
	client, err := kubernetes.NewForConfig(&rest.Config{
		Host: c.url, BearerToken: token, QPS: 100, Burst: 200, TLSClientConfig: rest.TLSClientConfig{CAData: c.ca},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return client
}
