package wire_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovnkctl/ovnkctl/internal/cni/wire"
)

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	want := []wire.Request{
		{Command: wire.Add, ContainerID: "abc", Netns: "/run/netns/x", IfName: "eth0", Args: "K8S_POD_NAME=a;K8S_POD_NAMESPACE=b", Config: []byte("not even JSON \xff")},
		{Command: wire.Status},
	}
	for _, r := range want {
		if err := wire.Write(&b, r); err != nil {
			t.Fatal(err)
		}
	}
	for _, w := range want {
		var got wire.Request
		if err := wire.Read(&b, &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(w, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	if err := wire.Read(&b, &wire.Request{}); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: got %v, want EOF", err)
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	huge := binary.BigEndian.AppendUint32(nil, wire.MaxMessage+1)
	if err := wire.Read(bytes.NewReader(huge), &wire.Request{}); !errors.Is(err, wire.ErrTooLarge) {
		t.Errorf("huge: got %v", err)
	}
	cut := append(binary.BigEndian.AppendUint32(nil, 10), `{"comm`...)
	if err := wire.Read(bytes.NewReader(cut), &wire.Request{}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut off: got %v", err)
	}
	if err := wire.Write(io.Discard, wire.Request{Config: make([]byte, wire.MaxMessage)}); !errors.Is(err, wire.ErrTooLarge) {
		t.Errorf("write: got %v", err)
	}
}

func FuzzRead(f *testing.F) {
	var b bytes.Buffer
	if err := wire.Write(&b, wire.Request{Command: wire.Add}); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte{0, 0, 0, 4, 'n', 'u', 'l', 'l'})
	f.Add([]byte(strings.Repeat("\xff", 9)))
	f.Fuzz(func(t *testing.T, data []byte) {
		var request wire.Request
		if err := wire.Read(bytes.NewReader(data), &request); err != nil {
			return
		}
		var again bytes.Buffer
		if err := wire.Write(&again, request); err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
	})
}
