package set_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/archive/archivetest"
	"github.com/esante-alsace/cigogne/storage/archive/mem"
	"github.com/esante-alsace/cigogne/storage/archive/set"
)

// hanging is a folder of a server that is gone: who asks it waits until that is
// back, whatever they want meanwhile.
type hanging struct {
	archive.Archive
	back  chan struct{}
	asked *atomic.Int64
}

func (hanging) String() string { return "dir:///nas" }

func (h hanging) Get(context.Context, string, storage.Range) (io.ReadCloser, error) {
	h.asked.Add(1)
	<-h.back
	return nil, storage.ErrUnavailable
}

// TestAFolderThatHangs keeps nobody who reads from another archive, and is
// asked by few until it is back.
func TestAFolderThatHangs(t *testing.T) {
	nas := hanging{mem.New(), make(chan struct{}), &atomic.Int64{}}
	s := newSet(t, set.Options{Hedge: time.Millisecond, Rest: time.Nanosecond, MostRest: time.Nanosecond}, nas, mem.New())
	body := []byte("image")
	if _, err := s.Put(t.Context(), "a", archivetest.Bytes(body)); err != nil {
		t.Fatal(err)
	}
	const readers = 100
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for range readers {
			in, err := s.Get(t.Context(), "a", storage.Range{Length: int64(len(body))})
			if err != nil {
				t.Error(err)
				return
			}
			if got, err := io.ReadAll(in); err != nil || !bytes.Equal(got, body) {
				t.Errorf("%q, %v", got, err)
			}
			in.Close()
		}
	}()
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		t.Errorf("a reader waits for the folder, though it has all")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	alone := newSet(t, set.Options{Copies: 1}, nas)
	refused := make(chan error)
	go func() {
		_, err := alone.Get(ctx, "a", storage.Range{Length: 1})
		refused <- err
	}()
	select {
	case err := <-refused:
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Errorf("who wants nothing any more waits for the folder")
		close(nas.back)
		<-refused
		return
	}
	if n := nas.asked.Load(); n > readers/4 {
		t.Errorf("it was asked %d times while it hung", n)
	}
	close(nas.back)
	s.Wait()
}

// TestFewHang: more than some readers do not wait for a folder that hangs, one
// after the other.
func TestFewHang(t *testing.T) {
	nas := hanging{mem.New(), make(chan struct{}), &atomic.Int64{}}
	s := newSet(t, set.Options{Copies: 1}, nas)
	refused := 0
	for range 40 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		_, err := s.Get(ctx, "a", storage.Range{Length: 1})
		if cancel(); errors.Is(err, storage.ErrUnavailable) {
			refused++
		}
	}
	close(nas.back)
	s.Wait()
	if n := nas.asked.Load(); n > 16 || refused == 0 {
		t.Errorf("%d hang there, %d were refused", n, refused)
	}
}
