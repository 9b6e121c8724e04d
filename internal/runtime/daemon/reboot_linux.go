package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host"
	"github.com/ovnkctl/ovnkctl/internal/runtime/host/ovs"
)

// bootIDFile changes with every boot of the machine.
const bootIDFile = "/proc/sys/kernel/random/boot_id"

// releaseNIC takes the gateway NIC out of its bridge if the machine was rebooted since
// `ovnkctl node` put it there: the distribution has given the NIC its addresses back, and
// a vswitchd that takes its packets would cut the host off before they are moved again.
func releaseNIC(ctx context.Context, socket string, log *slog.Logger) error {
	boot, err := os.ReadFile(bootIDFile)
	if err != nil {
		return fmt.Errorf("boot id: %w", err)
	}
	columns := ovs.Columns()
	db, err := ovn.Open(ctx, ovn.Config{
		Endpoint: "unix:" + socket, Database: ovn.OpenVSwitch(),
		Tables: slices.Collect(maps.Keys(columns)), Columns: columns, Logger: log,
	})
	if err != nil {
		return err
	}
	defer db.Close()
	return host.AfterReboot(ctx, &ovs.Client{DB: db}, strings.TrimSpace(string(boot)))
}
