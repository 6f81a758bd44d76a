package puller_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/cmd/cigogne/client"
	"github.com/esante-alsace/cigogne/cmd/cigogne/puller"
	"github.com/esante-alsace/cigogne/storage"
)

// toldPulled counts of how many instances it was told that they were pulled.
func toldPulled(said string) int { return strings.Count(said, `"event":"pulled"`) }

// TestTheStudyChanges while it is pulled: what comes is the study as it is in
// the end, never a mixture.
func TestTheStudyChanges(t *testing.T) {
	for name, place := range places(t) {
		t.Run(name, func(t *testing.T) {
			f, after := newFake(t, sizes()...), newFake(t, append(sizes(), 5000)...)
			after.digests.ETag = `"two.zip"`
			f.spoil = func(n int64, _ *client.Part) {
				if n == 3 {
					f.zip, f.digests, f.files = after.zip, after.digests, after.files
				}
			}
			o, compare := place(f)
			out, said, err := pull(t.Context(), f, o)
			if err != nil || out.Left != 0 {
				t.Fatalf("%+v, %v\n%s", out, err, said)
			}
			compare(t)
		})
	}
}

// TestAChangeKeepsWhatIsWhole: when the study changes in the middle, what was
// fetched of it is not fetched again.
func TestAChangeKeepsWhatIsWhole(t *testing.T) {
	var sizes []int
	for range 60 {
		sizes = append(sizes, mib/2)
	}
	for name, place := range places(t) {
		t.Run(name, func(t *testing.T) {
			f, after := newFake(t, sizes...), newFake(t, append(sizes, 5000)...)
			after.digests.ETag = `"two.zip"`
			f.spoil = func(_ int64, _ *client.Part) {
				if f.served.Load() > f.digests.Size/2 {
					f.zip, f.digests, f.files = after.zip, after.digests, after.files
				}
			}
			o, compare := place(f)
			// Whenever it was fetched: nothing was there before.
			out, said, err := pull(t.Context(), f, o)
			if want := (puller.Outcome{Pulled: int64(len(f.files))}); err != nil || out != want || toldPulled(said) != len(f.files) {
				t.Fatalf("%+v, %v, want %+v\n%s", out, err, want, said)
			}
			compare(t)
			if served, most := f.served.Load(), after.digests.Size+after.digests.Size/4; served > most {
				t.Errorf("%d bytes were fetched of a file of %d", served, after.digests.Size)
			}
		})
	}
}

// TestTheStudyIsDeleted while it is pulled: what was fetched of it is counted,
// and what was not.
func TestTheStudyIsDeleted(t *testing.T) {
	for name, place := range places(t) {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, sizes()...)
			f.spoil = func(int64, *client.Part) {
				if f.served.Load() > f.digests.Size/2 {
					f.digests.ETag, f.gone = `"two.zip"`, true
				}
			}
			o, _ := place(f)
			o.Connections = 1
			out, said, err := pull(t.Context(), f, o)
			told := int64(toldPulled(said))
			if want := (puller.Outcome{Pulled: told, Left: int64(len(f.files)) - told}); !errors.Is(err, storage.ErrNotFound) || told == 0 || out != want {
				t.Errorf("%+v, %v, want %+v\n%s", out, err, want, said)
			}
		})
	}
}

// TestANameThatIsTaken by what cannot be replaced: the instance does not count
// as pulled.
func TestANameThatIsTaken(t *testing.T) {
	f := newFake(t, 1000, 2000, 3000)
	o, _ := places(t)["folder"](f)
	if err := os.MkdirAll(filepath.Join(o.Folder, study, "2.25.2", "2.25.101.dcm", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	out, said, err := pull(t.Context(), f, o)
	if want := (puller.Outcome{Pulled: 2, Left: 1}); err == nil || out != want || toldPulled(said) != 2 {
		t.Errorf("%+v, %v, want %+v\n%s", out, err, want, said)
	}
}

// TestAPlaceThatIsNone: all of the study is told as not fetched.
func TestAPlaceThatIsNone(t *testing.T) {
	f := newFake(t, 1000, 2000, 3000)
	for name, place := range places(t) {
		o, _ := place(f)
		blocking := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(blocking, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if o.ZIP != "" {
			o.ZIP = filepath.Join(blocking, "study.zip")
		} else {
			o.Folder = blocking
		}
		if out, said, err := pull(t.Context(), f, o); err == nil || out != (puller.Outcome{Left: 3}) {
			t.Errorf("%s: %+v, %v\n%s", name, out, err, said)
		}
	}
}
