// Package helm carries the Helm chart inside the program: what `ovnkctl install` applies
// is the very chart of the release that the program belongs to.
package helm

import "embed"

// Files is the chart, below the folder that ChartDir names.
//
//go:embed all:ovnk
var Files embed.FS

// ChartDir is the chart's folder in Files.
const ChartDir = "ovnk"
