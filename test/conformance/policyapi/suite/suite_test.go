//go:build v1alpha1 || v1alpha2

// Package suite builds the conformance suites of sigs.k8s.io/network-policy-api as one test
// program for each version of the API. The packages of both versions have the same names:
// go.mod has the release with v1alpha2, v1alpha1.mod the last one with v1alpha1.
package suite

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/network-policy-api/conformance/tests"
	"sigs.k8s.io/network-policy-api/conformance/utils/flags"
	"sigs.k8s.io/network-policy-api/conformance/utils/suite"
	"sigs.k8s.io/yaml"
)

// Beside the suite's own flags, which say what its report tells of the implementation.
var (
	kubeconfig = flag.String("cluster", "", "kubeconfig of the cluster")
	list       = flag.Bool("list-tests", false, "print the names of the tests and end")
	only       = flag.String("only", "", "names of the tests that run, with commas")
	leaveOut   = flag.String("leave-out", "", "names of tests that do not, and count as skipped in the report")
)

func TestMain(m *testing.M) {
	flag.Parse()
	if *list {
		for _, test := range tests.ConformanceTests {
			fmt.Println(test.ShortName)
		}
		return
	}
	os.Exit(m.Run())
}

func TestConformance(t *testing.T) {
	out := strings.Split(*leaveOut, ",")
	chosen := append(strings.Split(*only, ","), out...)
	run := slices.DeleteFunc(slices.Clone(tests.ConformanceTests), func(test suite.ConformanceTest) bool {
		return !slices.Contains(chosen, test.ShortName)
	})
	s := open(t, out)
	s.Setup(t)
	if err := s.Run(t, run); err != nil {
		t.Fatal(err)
	}
	report, err := s.Report()
	if err != nil {
		t.Fatal(err)
	}
	text, err := yaml.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(*flags.ReportOutput, text, 0o644); err != nil {
		t.Fatal(err)
	}
}

// open prepares the suite with all profiles and all features.
func open(t *testing.T, leaveOut []string) *suite.ConformanceProfileTestSuite {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := install(c.Scheme()); err != nil {
		t.Fatal(err)
	}
	set, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	about, err := suite.ParseImplementation(*flags.ImplementationOrganization, *flags.ImplementationProject,
		*flags.ImplementationURL, *flags.ImplementationVersion, *flags.ImplementationContact, *flags.ImplementationAdditionalInformation)
	if err != nil {
		t.Fatal(err)
	}
	s, err := suite.NewConformanceProfileTestSuite(suite.ConformanceProfileOptions{
		Options: suite.Options{
			Client: c, ClientSet: set, KubeConfig: *config, CleanupBaseResources: true,
			SupportedFeatures: suite.AllFeatures, SkipTests: leaveOut,
		},
		Implementation: *about, ConformanceProfiles: profiles,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}
