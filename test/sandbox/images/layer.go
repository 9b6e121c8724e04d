package images

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// fileLayer is an uncompressed layer in a file. Compression would cost seconds
// on every side and save nothing on one machine.
type fileLayer struct {
	path string
	hash v1.Hash
	size int64
}

var _ v1.Layer = fileLayer{}

func (l fileLayer) Digest() (v1.Hash, error)             { return l.hash, nil }
func (l fileLayer) DiffID() (v1.Hash, error)             { return l.hash, nil }
func (l fileLayer) Compressed() (io.ReadCloser, error)   { return os.Open(l.path) }
func (l fileLayer) Uncompressed() (io.ReadCloser, error) { return os.Open(l.path) }
func (l fileLayer) Size() (int64, error)                 { return l.size, nil }
func (l fileLayer) MediaType() (types.MediaType, error)  { return types.OCIUncompressedLayer, nil }

// writeLayer makes a layer of what fill writes.
func writeLayer(path string, fill func(*tar.Writer) error) (fileLayer, error) {
	f, err := os.Create(path)
	if err != nil {
		return fileLayer{}, fmt.Errorf("layer: %w", err)
	}
	defer f.Close() //nolint:errcheck // closed with an error check below
	h := sha256.New()
	tw := tar.NewWriter(io.MultiWriter(f, h))
	if err := fill(tw); err != nil {
		return fileLayer{}, fmt.Errorf("layer %s: %w", filepath.Base(path), err)
	}
	if err := tw.Close(); err != nil {
		return fileLayer{}, fmt.Errorf("layer %s: %w", filepath.Base(path), err)
	}
	size, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return fileLayer{}, fmt.Errorf("layer %s: %w", filepath.Base(path), err)
	}
	if err := f.Close(); err != nil {
		return fileLayer{}, fmt.Errorf("layer %s: %w", filepath.Base(path), err)
	}
	return fileLayer{path: path, size: size, hash: v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.Sum(nil))}}, nil
}

// openLayer finds a layer that an earlier run wrote and described.
func openLayer(path string) (fileLayer, error) {
	text, err := os.ReadFile(path + ".digest")
	if err != nil {
		return fileLayer{}, fmt.Errorf("layer: %w", err)
	}
	hash, err := v1.NewHash(strings.TrimSpace(string(text)))
	if err != nil {
		return fileLayer{}, fmt.Errorf("layer %s: %w", path, err)
	}
	st, err := os.Stat(path)
	if err != nil {
		return fileLayer{}, fmt.Errorf("layer: %w", err)
	}
	return fileLayer{path: path, hash: hash, size: st.Size()}, nil
}

// describe remembers the digest beside the layer.
func (l fileLayer) describe() error {
	if err := os.WriteFile(l.path+".digest", []byte(l.hash.String()+"\n"), 0o644); err != nil {
		return fmt.Errorf("layer: %w", err)
	}
	return nil
}

// programMode is for files that a thin layer adds.
const programMode = 0o755

// addFile adds one program under the given name. Its time is fixed: the same
// content must be the same layer.
func addFile(tw *tar.Writer, name, source string) error {
	f, err := os.Open(source)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // read only
	st, err := f.Stat()
	if err != nil {
		return err
	}
	h := &tar.Header{Name: name, Mode: programMode, Size: st.Size(), ModTime: time.Unix(0, 0), Typeflag: tar.TypeReg}
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.Copy(tw, f)
	return err
}

// addDir adds an empty folder.
func addDir(tw *tar.Writer, name string) error {
	return tw.WriteHeader(&tar.Header{Name: name + "/", Mode: 0o755, ModTime: time.Unix(0, 0), Typeflag: tar.TypeDir})
}

// addTree adds a folder's content in a stable order, hard links as such. Files
// for which skip says true are left out, with everything below them.
func addTree(tw *tar.Writer, root string, skip func(rel string, dir bool) bool) error {
	first := map[[2]uint64]string{} // device and inode → name
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil || rel == "." {
			return err
		}
		if skip != nil && skip(rel, d.IsDir()) {
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode()&(fs.ModeSocket|fs.ModeDevice|fs.ModeNamedPipe) != 0 {
			return nil // the runtime makes what an image needs of these
		}
		return addEntry(tw, path, rel, info, first)
	})
}

func addEntry(tw *tar.Writer, path, rel string, info fs.FileInfo, first map[[2]uint64]string) error {
	target := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		var err error
		if target, err = os.Readlink(path); err != nil {
			return err
		}
	}
	h, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return errors.New("no inode information on this system")
	}
	h.Name, h.Uname, h.Gname = rel, "", ""
	h.AccessTime, h.ChangeTime, h.ModTime = time.Time{}, time.Time{}, h.ModTime.Truncate(time.Second)
	if info.IsDir() {
		h.Name += "/"
	}
	if info.Mode().IsRegular() && st.Nlink > 1 {
		id := [2]uint64{st.Dev, st.Ino}
		if name, seen := first[id]; seen {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, name, 0
			return tw.WriteHeader(h)
		}
		first[id] = rel
	}
	if err := tw.WriteHeader(h); err != nil || !info.Mode().IsRegular() {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // read only
	_, err = io.Copy(tw, f)
	return err
}
