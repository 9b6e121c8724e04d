//go:build !linux

package node

import (
	"context"
	"errors"
	"io"

	"github.com/ovnkctl/ovnkctl/internal/config"
)

// Options are what the command line says.
type Options struct {
	Config *config.Config
	Node   string
	Stderr io.Writer
}

// ErrUnsupported says that a node runs Linux.
var ErrUnsupported = errors.New("this program runs nodes on Linux only")

// Run runs on Linux only.
func Run(context.Context, Options) error { return ErrUnsupported }

// Cleanup runs on Linux only.
func Cleanup(context.Context, Options) error { return ErrUnsupported }
