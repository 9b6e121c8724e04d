package install

import (
	"testing"

	chart "helm.sh/helm/v4/pkg/chart/v2"
)

const testVersion = "v1.2.3"

func testChart(t *testing.T) *chart.Chart {
	t.Helper()
	c, err := loadChart(testVersion)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func testRender(t *testing.T, set ...string) *rendered {
	t.Helper()
	given, err := Values{Set: set}.read(nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := render(testChart(t), given, DefaultNamespace)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
