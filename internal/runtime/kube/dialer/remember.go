package dialer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
)

// The file is for its owner alone, and so is a folder that has to be made for it.
const (
	fileMode = 0o600
	dirMode  = 0o700
)

// memory is what is in the file.
type memory struct {
	APIServers []netip.AddrPort `json:"apiServers"`
}

// load reads the endpoints; a file that is not there holds none.
func load(path string) ([]netip.AddrPort, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var m memory
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return usable(m.APIServers), nil
}

// save replaces the file as a whole: a node that loses power has the old one or the new.
func save(path string, endpoints []netip.AddrPort) error {
	data, err := json.Marshal(memory{endpoints})
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+"-*") // with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone when all went well
	_, err = f.Write(append(data, '\n'))
	if err := errors.Join(err, f.Chmod(fileMode), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes a rename last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
