package proc

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

func TestParseStat(t *testing.T) {
	t.Parallel()
	const line = "42 (a) b (c)) S 1 42 42 0 -1 4194560 1 0 0 0 5 6 0 0 20 0 9 0 777 0 0 18446744073709551615"
	st, err := parseStat(line)
	if err != nil || st.state != 'S' || st.start != 777 {
		t.Errorf("%+v, %v", st, err)
	}
	for _, bad := range []string{"", "1 (x) S 1 2", "1 (x S"} {
		if _, err := parseStat(bad); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
}

func start(t *testing.T, tab Table, name string) Record {
	t.Helper()
	rec, err := tab.Start(Spec{Name: name, Argv: []string{"sleep", "600"}, Log: filepath.Join(t.TempDir(), "log")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := End(rec.PID); err != nil {
			t.Error(err)
		}
	})
	return rec
}

func TestStartGetKill(t *testing.T) {
	t.Parallel()
	tab := Table{Dir: t.TempDir()}
	rec := start(t, tab, "node1/init")
	got, ok := tab.Get("node1/init")
	if !ok || got != rec {
		t.Fatalf("got %+v, %v, want %+v", got, ok, rec)
	}
	if err := tab.Kill("node1/init"); err != nil {
		t.Fatal(err)
	}
	if _, ok := tab.Get("node1/init"); ok {
		t.Error("alive after Kill")
	}
	if err := tab.Kill("node1/init"); err != nil {
		t.Errorf("second kill: %v", err)
	}
}

func TestRecycledPidIsNotOurs(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Record){
		"other start time": func(r *Record) { r.Start++ },
		"other boot":       func(r *Record) { r.Boot = "another" },
	} {
		tab := Table{Dir: t.TempDir()}
		rec := start(t, tab, "x")
		stranger := rec
		change(&stranger)
		data, err := json.Marshal(stranger)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(tab.file("x"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := tab.Kill("x"); err != nil {
			t.Fatal(err)
		}
		if !alive(rec) {
			t.Errorf("%s: a stranger was killed", name)
		}
	}
}

func TestTornRecordIsDropped(t *testing.T) {
	t.Parallel()
	tab := Table{Dir: t.TempDir()}
	if err := os.WriteFile(tab.file("x"), []byte(`{"pid": 1`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, ok := tab.Get("x"); ok {
		t.Error("a torn record is alive")
	}
	if err := tab.Kill("x"); err != nil {
		t.Error(err)
	}
	if n := tab.Names(); len(n) != 0 {
		t.Errorf("left: %v", n)
	}
}
