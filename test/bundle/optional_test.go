//go:build !ovn

package bundle

// required has tests fail that cannot run without OVN.
const required = false
