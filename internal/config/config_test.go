package config

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/pflag"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"github.com/ovnkctl/ovnkctl/internal/world"
)

func TestDefaultIsValid(t *testing.T) {
	t.Parallel()
	if err := Default().Validate(); err != nil {
		t.Fatal(err)
	}
}

func TestDefaultNetwork(t *testing.T) {
	t.Parallel()
	c := Default()
	c.Network.ClusterSubnets = "10.244.0.0/16/24, fd00:10:244::/48"
	c.Network.ServiceSubnets = "10.96.0.0/16,fd00:10:96::/112"
	got, err := c.DefaultNetwork()
	if err != nil {
		t.Fatal(err)
	}
	want := world.Network{
		Name: "default",
		ClusterSubnets: []world.ClusterSubnet{
			{Prefix: netip.MustParsePrefix("10.244.0.0/16"), HostLength: 24},
			{Prefix: netip.MustParsePrefix("fd00:10:244::/48"), HostLength: 64},
		},
		ServiceSubnets: prefixes("10.96.0.0/16", "fd00:10:96::/112"),
		JoinSubnets:    prefixes("100.64.0.0/16", "fd98::/64"),
		TransitSubnets: prefixes("100.88.0.0/16", "fd97::/64"),
		Masquerade:     prefixes("169.254.0.0/17", "fd69::/112"),
		MTU:            1400, EncapPort: 6081, GatewayMode: "shared", GatewayMTUCheck: true,
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	c.Kubernetes.EmptyLoadBalancerEvents = true
	if got, _ := c.DefaultNetwork(); !got.EmptyLoadBalancerEvents {
		t.Error("events of empty load balancers are wanted, and not for the network")
	}
	c.Datapath = DatapathNetdev
	if got, _ := c.DefaultNetwork(); got.GatewayMTUCheck {
		t.Error("the netdev datapath measures super-packets: the MTU check must be off")
	}
	c.Network.JoinSubnets = "nonsense"
	if _, err := c.DefaultNetwork(); err == nil {
		t.Error("a malformed subnet was accepted")
	}
}

func prefixes(s ...string) []netip.Prefix {
	var p []netip.Prefix
	for _, x := range s {
		p = append(p, netip.MustParsePrefix(x))
	}
	return p
}

func TestValidateNamesEachProblem(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*Config)
		want   []string // "field: part of the reason"
	}{
		{"not a CIDR", func(c *Config) { c.Network.ClusterSubnets = "10.244/16" }, []string{"network.clusterSubnets: not a CIDR"}},
		{"host bits", func(c *Config) { c.Network.JoinSubnets = "100.64.1.0/16" }, []string{"network.joinSubnets: bits set beyond"}},
		{"host prefix shorter", func(c *Config) { c.Network.ClusterSubnets = "10.128.0.0/14/12" }, []string{"network.clusterSubnets: nodes cannot get a /12 from a /14"}},
		{"host prefix too long", func(c *Config) { c.Network.ClusterSubnets = "10.128.0.0/14/30" }, []string{"network.clusterSubnets: nodes cannot get a /30"}},
		{"host prefix is text", func(c *Config) { c.Network.ClusterSubnets = "10.128.0.0/14/x" }, []string{`network.clusterSubnets: host prefix length "x"`}},
		{"no cluster subnet", func(c *Config) { c.Network.ClusterSubnets = " , " }, []string{"network.clusterSubnets: is empty"}},
		{"dual stack pods, single stack services", func(c *Config) { c.Network.ClusterSubnets += ",fd00:10::/48" },
			[]string{"network.serviceSubnets: no IPv6 subnet"}},
		{"services of a family without pods", func(c *Config) { c.Network.ServiceSubnets += ",fd00:96::/112" },
			[]string{"network.serviceSubnets: an IPv6 subnet"}},
		{"family missing between routers", func(c *Config) {
			c.Network.ClusterSubnets, c.Network.ServiceSubnets = "fd00:10::/48", "fd00:96::/112"
			c.Network.JoinSubnets, c.Network.TransitSubnets, c.Network.Masquerade = "100.64.0.0/16", "", "169.254.0.0/17"
		}, []string{"network.joinSubnets: no IPv6", "network.transitSubnets: no IPv6", "network.masqueradeSubnets: no IPv6"}},
		{"two of a family", func(c *Config) { c.Network.JoinSubnets = "100.64.0.0/16,100.65.0.0/16" }, []string{"network.joinSubnets: already the IPv4 subnet"}},
		{"overlaps", func(c *Config) {
			c.Network.ServiceSubnets, c.Network.TransitSubnets = "10.128.5.0/24", "100.64.0.0/15,fd97::/64"
		},
			[]string{"network.serviceSubnets: overlaps 10.128.0.0/14 of network.clusterSubnets", "network.transitSubnets: overlaps 100.64.0.0/16 of network.joinSubnets"}},
		{"cluster subnets overlap each other", func(c *Config) { c.Network.ClusterSubnets = "10.128.0.0/14/23,10.130.0.0/16/24" },
			[]string{"network.clusterSubnets: overlaps 10.128.0.0/14"}},
		{"too small", func(c *Config) { c.Network.Masquerade = "169.254.0.0/30" }, []string{"network.masqueradeSubnets: too small"}},
		{"multicast", func(c *Config) { c.Network.ServiceSubnets = "224.0.0.0/8" }, []string{"network.serviceSubnets: unicast"}},
		{"mtu", func(c *Config) { c.Network.MTU = 500 }, []string{"network.mtu: 576"}},
		{"mtu of IPv6", func(c *Config) {
			c.Network.MTU = 1200
			c.Network.ClusterSubnets, c.Network.ServiceSubnets = "fd00:10::/48", "fd00:96::/112"
		}, []string{"network.mtu: IPv6 needs at least 1280"}},
		{"encapsulation", func(c *Config) { c.Network.EncapPort, c.Network.EncapIP = 70000, "eth0" },
			[]string{"network.encapPort: not a UDP port", "network.encapIP: not an address"}},
		{"DNS", func(c *Config) { c.Policy.DNSService, c.Policy.DNSProxyPort = "kube-dns", 0 },
			[]string{"policy.dnsService: not NAMESPACE/NAME", "policy.dnsProxyPort: not a port"}},
		{"DNS service of an odd name", func(c *Config) { c.Policy.DNSService = "kube-system/kube_dns" }, []string{"policy.dnsService: not NAMESPACE/NAME"}},
		{"gateway", func(c *Config) {
			c.Gateway = Gateway{Mode: "both", Bridge: "a-very-long-bridge", Interface: "eth 0", NextHops: "192.0.2.1,192.0.2.2,x,10.128.0.1", VLAN: 5000}
		}, []string{
			"gateway.mode: known value", "gateway.bridge: name of a network", "gateway.interface: name of a network", "gateway.vlan: VLAN id",
			"gateway.nextHops: second of its family", "gateway.nextHops: not an address", "gateway.nextHops: second of its family", "gateway.nextHops: address of pods",
		}},
		{"bridge is its own port", func(c *Config) { c.Gateway.Interface = "br-ex" }, []string{"gateway.interface: is the bridge"}},
		{"datapath", func(c *Config) { c.Datapath = "dpdk" }, []string{"datapath: known value"}},
		{"sockets", func(c *Config) {
			c.OVN.NB, c.OVN.SB, c.CNI.Socket = "tcp:127.0.0.1:6641", "unix:run/sb", "/"+strings.Repeat("x", 108)
		},
			[]string{"ovn.nb: local socket", "ovn.sb: local socket", "cni.socket: longer than the 107 bytes"}},
		{"paths", func(c *Config) { c.OVN.RunDir, c.OVN.NBDatabase, c.CNI.BinDir = "run", "", "bin" },
			[]string{"cni.binDir: absolute", "ovn.runDir: absolute", "ovn.nbDatabase: absolute"}},
		{"serving", func(c *Config) {
			c.Serving = Serving{ControllerMetrics: "9411", NodeMetrics: "node:9410", Pprof: "0.0.0.0:6060"}
			c.Log = Log{Level: "loud", Format: "xml"}
		}, []string{
			"serving.controllerMetrics: address to listen on", "serving.nodeMetrics: begin with an IP", "serving.pprof: program's memory",
			"log.level: known value", "log.format: known value",
		}},
		{"leader election", func(c *Config) { c.Leader = Leader{LeaseSeconds: 10, RenewSeconds: 12, RetrySeconds: 10} },
			[]string{"leaderElection.renewSeconds: 1.2", "leaderElection.leaseSeconds: not more than renewSeconds"}},
		{"identity", func(c *Config) { c.APIVersion, c.Kind = "v2", "Pod" }, []string{"apiVersion: version", "kind: configuration"}},
		{"cni, api, threads", func(c *Config) {
			c.CNI.CNIVersion, c.Kubernetes.APIServer, c.OVN.HandlerThreads = "2", "10.0.0.1:6443", -1
		},
			[]string{"ovn.handlerThreads: number of threads", "cni.cniVersion: known value", "kubernetes.apiServer: URL"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := Default()
			test.change(c)
			matchProblems(t, c.Validate(), test.want)
		})
	}
}

// matchProblems wants these problems in this order and no other.
func matchProblems(t *testing.T, err error, want []string) {
	t.Helper()
	var invalid *InvalidError
	if !errors.As(err, &invalid) {
		t.Fatalf("error = %v, want an InvalidError", err)
	}
	if len(invalid.Problems) != len(want) {
		t.Fatalf("%d problems, want %d:\n%v", len(invalid.Problems), len(want), err)
	}
	for i, p := range invalid.Problems {
		field, why, _ := strings.Cut(want[i], ": ")
		if p.Field != field || !strings.Contains(p.Why, why) {
			t.Errorf("problem %d is %s: %s\nwant %s", i, p.Field, p.Why, want[i])
		}
		if p.Remedy == "" {
			t.Errorf("%s has no remedy", p.Field)
		}
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	load := func(t *testing.T, text string, args ...string) (*Config, error) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "config.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
		flags := BindFlags(fs)
		if err := fs.Parse(append(args, "--config", path)); err != nil {
			t.Fatal(err)
		}
		return flags.Load()
	}
	t.Run("the file overrides defaults, flags override the file", func(t *testing.T) {
		t.Parallel()
		c, err := load(t, "network:\n  mtu: 1300\n  encapPort: 7000\ngateway: {mode: local}\nlog:\n", "--network.mtu=1350", "--gateway.disable-mtu-check")
		if err != nil {
			t.Fatal(err)
		}
		want := Default()
		want.Network.MTU, want.Network.EncapPort, want.Gateway.Mode, want.Gateway.DisableMTUCheck = 1350, 7000, "local", true
		if diff := cmp.Diff(want, c); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
	t.Run("a flag mends the file", func(t *testing.T) {
		t.Parallel()
		if _, err := load(t, "network: {mtu: 1}", "--network.mtu=1400"); err != nil {
			t.Error(err)
		}
	})
	t.Run("an empty file is the defaults", func(t *testing.T) {
		t.Parallel()
		c, err := load(t, "# nothing\n")
		if err != nil || !cmp.Equal(c, Default()) {
			t.Errorf("got %+v, %v", c, err)
		}
	})
	t.Run("unknown keys and wrong types, all at once", func(t *testing.T) {
		t.Parallel()
		_, err := load(t, "netwrk: {}\nnetwork:\n  clustersubnets: a\n  mtu: \"1400\"\n  mode: shared\nmtu: 3\ncni:\n  cniVersion: 1.0\ngateway: shared\nfrobnicate: 1\n")
		matchProblems(t, err, []string{
			"cni.cniVersion: text", "frobnicate: unknown", "gateway: object", "mtu: unknown", "network.clustersubnets: unknown",
			"network.mode: unknown", "network.mtu: whole number", "netwrk: unknown",
		})
		for _, s := range []string{"did you mean network.clusterSubnets?", "did you mean network?", "did you mean gateway.mode?", "did you mean network.mtu?"} {
			if !strings.Contains(err.Error(), s) {
				t.Errorf("%q is not in\n%v", s, err)
			}
		}
	})
	t.Run("a key twice", func(t *testing.T) {
		t.Parallel()
		if _, err := load(t, "network: {mtu: 1300}\nnetwork: {mtu: 1400}\n"); err == nil {
			t.Error("accepted")
		}
	})
	t.Run("no such file", func(t *testing.T) {
		t.Parallel()
		if _, err := Load(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("error = %v", err)
		}
	})
}

func TestFlagsRefuseWhatDoesNotParse(t *testing.T) {
	t.Parallel()
	for _, arg := range []string{"--network.mtu=big", "--gateway.disable-mtu-check=perhaps", "--network.mut=1400"} {
		fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
		BindFlags(fs)
		if err := fs.Parse([]string{arg}); err == nil {
			t.Errorf("%s was accepted", arg)
		}
	}
}

// Every key has a flag, every flag a text, and no text is left over from a key that is gone.
func TestFieldsAreDescribed(t *testing.T) {
	t.Parallel()
	paths := map[string]bool{}
	for _, f := range Fields() {
		paths[f.Path] = true
		if f.Help == "" {
			t.Errorf("%s has no help text", f.Path)
		}
		if f.Type != "string" && f.Type != "int" && f.Type != "bool" {
			t.Errorf("%s is a %s: no flag can set it", f.Path, f.Type)
		}
	}
	for path := range help {
		if !paths[path] {
			t.Errorf("help text for %s, which is not a key", path)
		}
	}
	for path, want := range map[string]string{
		"network.encapIP": "network.encap-ip", "cni.cniVersion": "cni.cni-version", "kubernetes.apiServer": "kubernetes.api-server",
		"gateway.disableMTUCheck": "gateway.disable-mtu-check", "ovn.nbDatabase": "ovn.nb-database", "gateway.vlan": "gateway.vlan",
	} {
		if got := flagName(path); got != want {
			t.Errorf("flag of %s is %s, want %s", path, got, want)
		}
	}
}

// What is written is read back, and whatever a flag sets reaches its field.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := Default()
		fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
		flags := BindFlags(fs)
		for _, f := range Fields() {
			if !rapid.Bool().Draw(t, f.Path) {
				continue
			}
			text := map[string]string{"int": "77", "bool": "true", "string": "some text: with # signs"}[f.Type]
			if err := fs.Set(f.Flag, text); err != nil {
				t.Fatal(err)
			}
			if err := setText(f.value(want), text); err != nil {
				t.Fatal(err)
			}
		}
		written, err := yaml.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		read, err := parse("", written)
		if err != nil {
			t.Fatal(err)
		}
		byFlags := flags.WithoutFile()
		if !reflect.DeepEqual(read, want) || !reflect.DeepEqual(byFlags, want) {
			t.Errorf("file (-want +got)\n%s\nflags (-want +got)\n%s", cmp.Diff(want, read), cmp.Diff(want, byFlags))
		}
	})
}
