package whatif

import "testing"

func TestMarked(t *testing.T) {
	t.Parallel()
	const name = "NetworkPolicy shop/api"
	for text, want := range map[string]string{
		"by NetworkPolicy shop/api, and":     "by NetworkPolicy shop/api (not applied), and",
		"NetworkPolicy shop/api":             "NetworkPolicy shop/api (not applied)",
		"NetworkPolicy shop/api-2 ingress":   "NetworkPolicy shop/api-2 ingress",
		"NetworkPolicy shop/api.v2":          "NetworkPolicy shop/api.v2",
		"NetworkPolicy shop/api. Next":       "NetworkPolicy shop/api (not applied). Next",
		"NetworkPolicy shop/api ingress[0]":  "NetworkPolicy shop/api (not applied) ingress[0]",
		"AdminNetworkPolicy shop and others": "AdminNetworkPolicy shop and others",
	} {
		if got := marked(text, name); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
