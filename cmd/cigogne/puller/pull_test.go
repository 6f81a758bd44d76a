package puller_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/cmd/cigogne/client"
	"github.com/esante-alsace/cigogne/cmd/cigogne/progress"
	"github.com/esante-alsace/cigogne/cmd/cigogne/puller"
)

func pull(ctx context.Context, f *fake, o puller.Options) (puller.Outcome, string, error) {
	var said bytes.Buffer
	out, err := pullTelling(ctx, f, o, &said)
	return out, said.String(), err
}

// pullTelling writes what is told to a writer, while it is told.
func pullTelling(ctx context.Context, f *fake, o puller.Options, said io.Writer) (puller.Outcome, error) {
	o.Gateway, o.StudyInstanceUID = f, study
	o.Work = progress.Start(progress.Options{JSON: said, Every: time.Hour})
	o.Patience = &client.Patience{Limit: time.Minute}
	if o.Connections == 0 {
		o.Connections = 3
	}
	ctx, cancel := context.WithTimeout(ctx, 4*time.Minute)
	defer cancel()
	out, err := puller.Run(ctx, o)
	o.Work.End()
	return out, err
}

// places are the two forms in which a study is pulled, and how what came of it
// is compared.
func places(t *testing.T) map[string]func(f *fake) (puller.Options, func(t *testing.T)) {
	return map[string]func(f *fake) (puller.Options, func(t *testing.T)){
		"zip": func(f *fake) (puller.Options, func(t *testing.T)) {
			path := filepath.Join(t.TempDir(), "study.zip")
			return puller.Options{ZIP: path}, func(t *testing.T) {
				t.Helper()
				got, err := os.ReadFile(path)
				if err != nil || !bytes.Equal(got, f.zip) {
					t.Errorf("the ZIP file is another: %d bytes of %d, %v", len(got), len(f.zip), err)
				}
				only(t, filepath.Dir(path), 1)
			}
		},
		"folder": func(f *fake) (puller.Options, func(t *testing.T)) {
			dir := t.TempDir()
			return puller.Options{Folder: dir}, func(t *testing.T) {
				t.Helper()
				for path, want := range f.files {
					if got, err := os.ReadFile(filepath.Join(dir, path)); err != nil || !bytes.Equal(got, want) {
						t.Errorf("%s is another: %d bytes of %d, %v", path, len(got), len(want), err)
					}
				}
				only(t, dir, len(f.files))
			}
		},
	}
}

// only fails the test when there are other files than those.
func only(t *testing.T, dir string, files int) {
	t.Helper()
	var all []string
	filepath.WalkDir(dir, func(path string, d os.DirEntry, _ error) error {
		if d.Type().IsRegular() {
			all = append(all, path)
		}
		return nil
	})
	if len(all) != files {
		t.Errorf("%d files where %d should be: %q", len(all), files, all)
	}
}

const mib = 1 << 20

// sizes are of instances that lie in one range, at its borders and in many.
func sizes() []int {
	return []int{mib, prefix, prefix + 1, 3*mib + 17, 14 * mib, 900, mib, 2 * mib, 700_001}
}

func TestPull(t *testing.T) {
	for _, c := range []struct {
		name  string
		sizes []int
		spoil func(n int64, p *client.Part)
		flip  int64 // the offset of a byte that is changed once
	}{
		{"as it should be", sizes(), nil, 0},
		{"one small instance", []int{1000}, nil, 0},
		{"cut again and again", sizes(), func(n int64, p *client.Part) {
			if n <= 4 {
				cut(p, 100_000*n)
			}
		}, 0},
		{"a byte of a small instance flips", sizes(), nil, 2000},
		{"a byte of an instance in several ranges flips", sizes(), nil, 8*mib + 500},
	} {
		for name, place := range places(t) {
			t.Run(c.name+"/"+name, func(t *testing.T) {
				f := newFake(t, c.sizes...)
				f.spoil = c.spoil
				if c.flip > 0 {
					f.spoil = flip(c.flip)
				}
				o, compare := place(f)
				out, said, err := pull(t.Context(), f, o)
				if want := (puller.Outcome{Pulled: int64(len(c.sizes))}); err != nil || out != want {
					t.Fatalf("%+v, %v, want %+v\n%s", out, err, want, said)
				}
				compare(t)
				if (c.flip > 0) != strings.Contains(said, `"damaged"`) {
					t.Errorf("told: %s", said)
				}
				if more := f.served.Load() - f.digests.Size; more < -mib || more > 0 && c.flip == 0 { // a folder needs no directory
					t.Errorf("%d bytes more than the file were fetched", more)
				}
			})
		}
	}
}

// TestPullGoesOn: after it was ended in the middle, only what is missing is
// fetched, also of an instance of which half is there.
func TestPullGoesOn(t *testing.T) {
	for _, sizes := range [][]int{sizes(), {40 * mib}} {
		for name, place := range places(t) {
			t.Run(fmt.Sprint(len(sizes), " ", name), func(t *testing.T) {
				f := newFake(t, sizes...)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				half := f.digests.Size / 2
				f.spoil = func(_ int64, p *client.Part) {
					src := p.ReadCloser
					p.ReadCloser = io.NopCloser(reading(func(b []byte) (int, error) {
						if f.served.Load() > half {
							cancel()
							return 0, ctx.Err()
						}
						return src.Read(b)
					}))
				}
				o, compare := place(f)
				if out, _, err := pull(ctx, f, o); !errors.Is(err, context.Canceled) {
					t.Fatalf("%+v, %v", out, err)
				}
				first := f.served.Swap(0)
				f.spoil = nil
				out, said, err := pull(t.Context(), f, o)
				if err != nil || out.Left != 0 || out.Pulled+out.Present != int64(len(sizes)) {
					t.Fatalf("%+v, %v\n%s", out, err, said)
				}
				compare(t)
				// What each of three connections had in hand may be lost, and
				// headers between instances are fetched again.
				if second := f.served.Load(); second > f.digests.Size-first+3*copyBytes+mib {
					t.Errorf("%d bytes, then %d, of %d", first, second, f.digests.Size)
				}
			})
		}
	}
}

const copyBytes = 256 << 10
