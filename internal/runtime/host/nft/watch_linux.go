package nft

import (
	"context"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ovnkctl/ovnkctl/internal/runtime/host/kernel"
)

const (
	nftGroup = 1 << (unix.NFNLGRP_NFTABLES - 1)
	// genHeader is the size of struct nfgenmsg.
	genHeader = 4
	// tableAttribute is the number of the table's name in every message that has one:
	// NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, NFTA_RULE_TABLE, NFTA_SET_TABLE, ….
	tableAttribute = 1
)

// Watch calls notify after each change of one of the tables, until ctx ends.
func (Exec) Watch(ctx context.Context, tables []string, notify func()) error {
	return kernel.Listen(ctx, unix.NETLINK_NETFILTER, nftGroup, func(m kernel.Message) bool {
		if m.Type>>8 != unix.NFNL_SUBSYS_NFTABLES || m.Type&0xff == unix.NFT_MSG_NEWGEN {
			return false
		}
		name, ok := m.Text(genHeader, tableAttribute)
		return ok && slices.Contains(tables, name)
	}, notify)
}
