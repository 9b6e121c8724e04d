package replica

import (
	"bytes"
	"context"
	"time"

	"github.com/ovnkctl/ovnkctl/internal/ovn"
	"github.com/ovnkctl/ovnkctl/internal/ovn/dbfile"
	"github.com/ovnkctl/ovnkctl/internal/ovn/query"
)

// FromServer reads a database from the server that listens at a socket, as a file.
func FromServer(ctx context.Context, socket string, d *ovn.Database) ([]byte, error) {
	conn, err := dial(ctx, socket)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	a, err := query.Read(ctx, conn, query.Request{Database: d, Everything: true})
	if err != nil {
		return nil, err
	}
	var file bytes.Buffer
	err = dbfile.Write(&file, a.Schema, a.Rows, time.Now())
	return file.Bytes(), err
}
