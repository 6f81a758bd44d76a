package journal_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/journal"
)

// TestShare: what is shared stays as it was while its entry becomes durable
// and other entries take the memory that was given back.
func TestShare(t *testing.T) {
	j := open(t, journal.Options{Dir: t.TempDir(), InlineBytes: 256 << 10})
	want := bytes.Repeat([]byte("first"), 40<<10)
	a := j.NewAppend(t.Context())
	defer a.Abort()
	if _, err := a.Write(want); err != nil {
		t.Fatal(err)
	}
	pieces, release, err := a.Share()
	if err != nil {
		t.Fatal(err)
	}
	p, err := a.Commit(nil, []byte("header"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 8 {
		put(t, j, "", "other", bytes.Repeat([]byte("other"), 40<<10))
	}
	if !bytes.Equal(bytes.Join(pieces, nil), want) {
		t.Error("the pieces changed before they were given up")
	}
	release()
	release() // twice is once
	put(t, j, "", "after", want)
}

// TestShareLarge: what lies in a file of its own is not shared.
func TestShareLarge(t *testing.T) {
	j := open(t, journal.Options{Dir: t.TempDir(), InlineBytes: 64 << 10})
	a := j.NewAppend(t.Context())
	defer a.Abort()
	if _, err := a.Write(make([]byte, 200<<10)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.Share(); !errors.Is(err, storage.ErrTooLarge) {
		t.Errorf("Share of a large payload: %v", err)
	}
}
