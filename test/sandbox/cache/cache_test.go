package cache

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestKeyBoundariesCount(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.SliceOf(rapid.String()).Draw(t, "a")
		b := rapid.SliceOf(rapid.String()).Draw(t, "b")
		same := fmt.Sprintf("%q", a) == fmt.Sprintf("%q", b)
		if (NewKey(a...).String() == NewKey(b...).String()) != same {
			t.Fatalf("%q and %q", a, b)
		}
	})
}

func TestKeyFollowsFileContent(t *testing.T) {
	t.Parallel()
	f := filepath.Join(t.TempDir(), "go.sum")
	key := func(content string) string {
		if err := os.WriteFile(f, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		k := NewKey()
		if err := k.AddFile(f); err != nil {
			t.Fatal(err)
		}
		return k.String()
	}
	if one := key("one"); one == key("two") || one != key("one") {
		t.Error("the key does not follow the content")
	}
	if err := NewKey().AddFile(f + ".missing"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

func TestMakeOnceAlsoUnderARace(t *testing.T) {
	t.Parallel()
	d := Dir{Path: t.TempDir()}
	var mu sync.Mutex
	made := 0
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			path, err := d.Make("kind", NewKey("k"), func(dir string) error {
				mu.Lock()
				defer mu.Unlock()
				made++
				return os.WriteFile(filepath.Join(dir, "f"), []byte("x"), 0o600)
			})
			if err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(filepath.Join(path, "f")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if made != 1 {
		t.Errorf("made %d times", made)
	}
}

func TestFailedMakeLeavesNoEntry(t *testing.T) {
	t.Parallel()
	d := Dir{Path: t.TempDir()}
	boom := errors.New("boom")
	fail := func(dir string) error {
		if err := os.WriteFile(filepath.Join(dir, "half"), nil, 0o600); err != nil {
			return err
		}
		return boom
	}
	if _, err := d.Make("kind", NewKey("k"), fail); !errors.Is(err, boom) {
		t.Fatalf("error %v", err)
	}
	path, err := d.Make("kind", NewKey("k"), func(string) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(path, "half")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the failed try is in the entry: %v", err)
	}
}

func TestPruneKeepsTheRecentlyUsed(t *testing.T) {
	t.Parallel()
	d := Dir{Path: t.TempDir()}
	nothing := func(string) error { return nil }
	for i := range 4 {
		path, err := d.Make("kind", NewKey(fmt.Sprint(i)), nothing)
		if err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(time.Duration(i-10) * time.Hour)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	d.Entry("kind", NewKey("0")) // used just now
	if err := d.Prune("kind", 2); err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, false, false, true} {
		_, err := os.Stat(filepath.Join(d.Path, "kind", NewKey(fmt.Sprint(i)).String()))
		if (err == nil) != want {
			t.Errorf("entry %d: kept %v, want %v", i, err == nil, want)
		}
	}
	if err := d.Prune("nothing", 2); err != nil {
		t.Error(err)
	}
}

func TestLinkFollowsTheNewestEntry(t *testing.T) {
	t.Parallel()
	d := Dir{Path: t.TempDir()}
	for _, key := range []string{"one", "two", "two"} {
		path, err := d.Make("kind", NewKey(key), func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "f"), []byte(key), 0o600)
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Link("current", path); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join(d.Path, "current", "f")); err != nil || string(got) != key {
			t.Errorf("the link leads to %q, %v, want %q", got, err, key)
		}
	}
}
