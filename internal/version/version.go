// Package version holds what the build stamps into the program.
package version

// Version is the release or commit that the program was built from, set by the linker.
var Version = "dev"
