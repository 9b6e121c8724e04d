//go:build !linux

package nodecheck

import (
	"context"
	"errors"
	"net/netip"
)

// resolve needs Linux, as nodes do.
func resolve(context.Context, int, []netip.Addr) ([]Hop, error) {
	return nil, errors.New("neighbours are asked for on Linux only")
}
