//go:build v1alpha1

package suite

import (
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/network-policy-api/apis/v1alpha1"
	"sigs.k8s.io/network-policy-api/conformance/utils/suite"
)

var (
	install  = v1alpha1.Install
	profiles = sets.New(suite.ANPConformanceProfileName, suite.BANPConformanceProfileName)
)
