package daemon

import (
	"log/slog"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/config"
)

// Options say how to run a daemon.
type Options struct {
	Config *config.Config
	// ExtraArgs go to the daemon behind those made here.
	ExtraArgs []string
	// SetAsideCorrupt renames a corrupt database and begins with an empty one.
	SetAsideCorrupt bool
	// Wait is how long to wait for databases that the daemon is a client of. vswitchd
	// needs its own; the others can connect later and start after the wait anyway.
	Wait time.Duration
	// BinDirs are searched for programs before the usual places.
	BinDirs []string
	// ShareDir holds openvswitch/ and ovn/ with the schemas, usually /usr/share.
	ShareDir string
	Log      *slog.Logger
}
