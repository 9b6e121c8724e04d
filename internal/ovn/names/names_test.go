package names

import "testing"

func TestNames(t *testing.T) {
	t.Parallel()
	def, blue := Of("default"), Of("tenant/blue-net")
	if def != Of("") || def != (Network{}) {
		t.Error("the default network has three spellings")
	}
	for _, c := range []struct{ got, want string }{
		{def.ClusterRouter(), "ovn_cluster_router"},
		{def.NodeSwitch("n1"), "n1"},
		{RouterToExternal(def.GatewayRouter("n1")), "rtoe-GR_n1"},
		{def.TransitToRouter("n1"), "tstor-n1"},
		{blue.ClusterRouter(), "tenant.blue.net_ovn_cluster_router"},
		{blue.NodeSwitch("n1"), "tenant.blue.net_n1"},
		{blue.GatewayRouter("n1"), "GR_tenant.blue.net_n1"},
		{JoinToRouter(blue.GatewayRouter("n1")), "jtor-GR_tenant.blue.net_n1"},
		{blue.RouterToSwitch("n1"), "rtos-tenant.blue.net_n1"},
		{blue.TransitToRouter("n1"), "tenant.blue.net_tstor-n1"},
		{def.ClusterGroup(), "clusterLBGroup"},
		{blue.RouterGroup(), "tenant.blue.net_clusterRouterLBGroup"},
		{def.Service("default", "web", "tcp", ScopeCluster()), "Service_default/web_TCP_cluster"},
		{def.Service("default", "web", "sctp", ScopeLocalRouter("n1")), "Service_default/web_SCTP_node_local_router_n1"},
		{blue.Service("default", "web", "udp", ScopeSwitch("n1")), "tenant.blue.net_Service_default/web_UDP_node_switch_n1"},
		{def.HostPort("default", "web", "udp"), "HostPort_default/web_UDP"},
		{Pod("kube-system", "coredns"), "kube-system_coredns"},
		{PatchToIntegration("br-ex_n1"), "patch-br-ex_n1-to-br-int"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}
