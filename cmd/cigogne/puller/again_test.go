package puller_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/esante-alsace/cigogne/cmd/cigogne/client"
	"github.com/esante-alsace/cigogne/cmd/cigogne/puller"
	"github.com/esante-alsace/cigogne/storage"
)

// TestAnInstanceIsReplacedByAShorterOne between two pulls, of which the first
// was ended in the middle of it: nothing of the longer one is left behind it.
func TestAnInstanceIsReplacedByAShorterOne(t *testing.T) {
	for name, place := range places(t) {
		t.Run(name, func(t *testing.T) {
			f, after := newFake(t, 6*mib, 900), newFake(t, 2*mib, 900)
			after.digests.ETag = `"two.zip"`
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			f.spoil = func(_ int64, p *client.Part) {
				src := p.ReadCloser
				p.ReadCloser = io.NopCloser(reading(func(b []byte) (int, error) {
					if f.served.Load() > 5*mib {
						cancel()
						return 0, ctx.Err()
					}
					return src.Read(b)
				}))
			}
			o, compare := place(after)
			o.Connections = 1
			if out, _, err := pull(ctx, f, o); !errors.Is(err, context.Canceled) {
				t.Fatalf("%+v, %v", out, err)
			}
			if out, said, err := pull(t.Context(), after, o); err != nil || out.Left != 0 {
				t.Fatalf("%+v, %v\n%s", out, err, said)
			}
			compare(t)
		})
	}
}

// TestAPullThatBeganAnewAndDied: the ledger names the file as it is now, what
// lies there is still the longer one of before.
func TestAPullThatBeganAnewAndDied(t *testing.T) {
	f := newFake(t, sizes()...)
	o, compare := places(t)["zip"](f)
	head := fmt.Sprintf("{\"etag\":%q,\"size\":%d}\n", f.digests.ETag, f.digests.Size)
	for path, b := range map[string][]byte{
		o.ZIP + ".part.ledger": []byte(head), o.ZIP + ".part": make([]byte, f.digests.Size+3*mib),
	} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, said, err := pull(t.Context(), f, o); err != nil || out.Left != 0 {
		t.Fatalf("%+v, %v\n%s", out, err, said)
	}
	compare(t)
}

// TestWhatWasToldIsKept: whoever is told that an instance was pulled finds it
// there, also when the pull was killed right then.
func TestWhatWasToldIsKept(t *testing.T) {
	for name, place := range places(t) {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, 900, 700_001, prefix+1, 2*mib, 1000)
			o, _ := place(f)
			o.Connections = 1
			dir := o.Folder
			if o.ZIP != "" {
				dir = filepath.Dir(o.ZIP)
			}
			var copies []string
			out, err := pullTelling(t.Context(), f, o, writing(func(b []byte) {
				if bytes.Contains(b, []byte(`"event":"pulled"`)) {
					copies = append(copies, copyOf(t, dir))
				}
			}))
			if err != nil || int(out.Pulled) != len(f.files) || len(copies) != len(f.files) {
				t.Fatalf("%+v, %v, %d were told", out, err, len(copies))
			}
			for i, dir := range copies {
				again := puller.Options{Folder: dir}
				if o.ZIP != "" {
					again = puller.Options{ZIP: filepath.Join(dir, filepath.Base(o.ZIP))}
				}
				if out, said, err := pull(t.Context(), f, again); err != nil || out.Left != 0 || int(out.Present) <= i {
					t.Errorf("killed after %d were told: %+v, %v\n%s", i+1, out, err, said)
				}
			}
		})
	}
}

// copyOf copies a folder in which files get other names meanwhile.
func copyOf(t *testing.T, dir string) string {
	t.Helper()
	for {
		to := t.TempDir()
		err := os.CopyFS(to, os.DirFS(dir))
		if err == nil {
			return to
		}
		if !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
			return to
		}
	}
}

// writing hands to a function what is written.
type writing func([]byte)

func (w writing) Write(b []byte) (int, error) {
	w(b)
	return len(b), nil
}

// TestALedgerIsSpoilt, as a power cut leaves it: the pull begins anew.
func TestALedgerIsSpoilt(t *testing.T) {
	for name, place := range places(t) {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, sizes()...)
			o, compare := place(f)
			ledger := o.ZIP + ".part.ledger"
			if o.ZIP == "" {
				ledger = filepath.Join(o.Folder, "."+study+".part.ledger")
			}
			if err := os.WriteFile(ledger, make([]byte, 64<<10), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, said, err := pull(t.Context(), f, o); err != nil || out.Left != 0 {
				t.Fatalf("%+v, %v\n%s", out, err, said)
			}
			compare(t)
		})
	}
}

// TestTwoAtOnce pull a study to one place: one does, the other is told so and
// touches nothing.
func TestTwoAtOnce(t *testing.T) {
	for name, place := range places(t) {
		t.Run(name, func(t *testing.T) {
			f, other := newFake(t, sizes()...), newFake(t, 2*mib, 900)
			other.digests.ETag = `"two.zip"`
			o, compare := place(f)
			tried := false
			f.spoil = func(_ int64, p *client.Part) {
				src := p.ReadCloser
				p.ReadCloser = io.NopCloser(reading(func(b []byte) (int, error) {
					f.mu.Lock()
					first := !tried
					tried = true
					f.mu.Unlock()
					if first { // the first one has its ledger by now
						if out, said, err := pull(t.Context(), other, o); !errors.Is(err, storage.ErrUnavailable) {
							t.Errorf("%+v, %v\n%s", out, err, said)
						}
					}
					return src.Read(b)
				}))
			}
			if out, said, err := pull(t.Context(), f, o); err != nil || out.Left != 0 {
				t.Fatalf("%+v, %v\n%s", out, err, said)
			}
			compare(t)
		})
	}
}
