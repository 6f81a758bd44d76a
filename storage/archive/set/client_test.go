package set_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/archive/archivetest"
	"github.com/esante-alsace/cigogne/storage/archive/dir"
	"github.com/esante-alsace/cigogne/storage/archive/set"
)

// stalledClient is a connection whose other end reads no more.
type stalledClient struct{ took int }

var errStalled = errors.New("the client does not read")

func (c *stalledClient) Write(p []byte) (int, error)       { c.took += len(p); return len(p), nil }
func (c *stalledClient) ReadFrom(io.Reader) (int64, error) { return 0, errStalled }

// TestClientThatDoesNotRead: that a client takes nothing is no failure of the
// archives, and no other is asked for it.
func TestClientThatDoesNotRead(t *testing.T) {
	var members []archive.Archive
	for range 2 {
		d, err := dir.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		members = append(members, d)
	}
	s, err := set.New(members, set.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b := bytes.Repeat([]byte("x"), 1<<20)
	if _, err := s.Put(t.Context(), "a/b", archivetest.Bytes(b)); err != nil {
		t.Fatal(err)
	}
	r, err := s.Get(t.Context(), "a/b", storage.Range{Length: int64(len(b))})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.Copy(&stalledClient{}, r); !errors.Is(err, errStalled) {
		t.Errorf("%v", err)
	}
	for _, h := range s.Health() {
		if h.Failures != 0 {
			t.Errorf("%s: %d failures: %v", h.Archive, h.Failures, h.Err)
		}
	}
}
