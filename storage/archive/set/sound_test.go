package set_test

import (
	"bytes"
	"context"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/archive/archivetest"
	"github.com/esante-alsace/cigogne/storage/archive/dir"
	"github.com/esante-alsace/cigogne/storage/archive/mem"
	"github.com/esante-alsace/cigogne/storage/archive/set"
	"github.com/esante-alsace/cigogne/storage/sound"
)

// TestRotten: what rotted in the folder that is asked first comes from the
// archive beside it. Where it was found too late for that, the end is held
// back: nobody reads the one's beginning with the other's end.
func TestRotten(t *testing.T) {
	for name, c := range map[string]struct {
		size int
		late bool
	}{"an instance": {500_000, false}, "one that is compared while it is read": {sound.AtOnce + 1000, true}} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			d, err := dir.Open(folder)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			told := 0
			s := newSet(t, set.Options{Damaged: func(string, string, error) { told++ }}, d, mem.New())
			want := bytes.Repeat([]byte("pixel"), c.size/5)
			if _, err := s.Put(t.Context(), "a", archivetest.Bytes(want)); err != nil {
				t.Fatal(err)
			}
			rotten := bytes.Clone(want)
			rotten[100_000] ^= 1
			at := filepath.Join(folder, "a")
			if err := errors.Join(os.Chmod(at, 0o600), os.WriteFile(at, rotten, 0o600)); err != nil {
				t.Fatal(err)
			}
			all := storage.Range{Length: int64(len(want))}
			for way, read := range map[string]func(io.Reader) ([]byte, error){
				"Read": func(r io.Reader) ([]byte, error) { return io.ReadAll(struct{ io.Reader }{r}) },
				"WriteTo": func(r io.Reader) ([]byte, error) {
					var b bytes.Buffer
					_, err := io.Copy(&b, r)
					return b.Bytes(), err
				},
			} {
				told = 0
				in, err := s.GetSound(t.Context(), "a", all, archive.Sum{Range: all, CRC32: crc32.ChecksumIEEE(want)})
				if err != nil {
					t.Fatal(way, err)
				}
				got, err := read(in)
				in.Close()
				switch {
				case !c.late && (err != nil || !bytes.Equal(got, want)):
					t.Errorf("%s: not what was put: %v", way, err)
				case c.late && (!errors.Is(err, storage.ErrCorrupt) || len(got) >= len(want)):
					t.Errorf("%s: %d of %d bytes, %v", way, len(got), len(want), err)
				}
				if told != 1 {
					t.Errorf("%s: told %d times of the damage", way, told)
				}
			}
		})
	}
}

// comparing is a folder that does not come to the end of comparing: until it is
// let go, or not even then.
type comparing struct {
	archive.Archive
	hangs chan struct{} // nil for one that ends when it is let go
}

func (comparing) String() string { return "dir:///nas" }

func (comparing) Compares() bool { return true }

func (c comparing) GetSound(ctx context.Context, _ string, _ storage.Range, _ archive.Sum) (io.ReadCloser, error) {
	<-ctx.Done()
	if c.hangs != nil {
		<-c.hangs
	}
	return nil, ctx.Err()
}

// TestComparingIsNoFailure: a folder that is busy comparing is not said to
// fail, nor rests; one that hangs does.
func TestComparingIsNoFailure(t *testing.T) {
	for name, hangs := range map[string]chan struct{}{"busy": nil, "hangs": make(chan struct{})} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hedge := time.Second // within which the busy one ends
			if hangs != nil {
				hedge = time.Millisecond
			}
			nas := comparing{mem.New(), hangs}
			s := newSet(t, set.Options{Hedge: hedge}, nas, mem.New())
			body := []byte("image")
			if _, err := s.Put(t.Context(), "a", archivetest.Bytes(body)); err != nil {
				t.Fatal(err)
			}
			sum := archive.Sum{Range: storage.Range{Length: int64(len(body))}, CRC32: crc32.ChecksumIEEE(body)}
			in, err := s.GetSound(t.Context(), "a", sum.Range, sum)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(in); err != nil || !bytes.Equal(got, body) {
				t.Errorf("%q, %v", got, err)
			}
			if hangs != nil {
				for begun := time.Now(); s.Health()[0].Failures == 0 && time.Since(begun) < 30*time.Second; {
					runtime.Gosched() // until it is said
				}
				close(hangs)
			}
			in.Close()
			if failures := s.Health()[0].Failures; (failures > 0) != (hangs != nil) {
				t.Errorf("%d failures", failures)
			}
		})
	}
}
