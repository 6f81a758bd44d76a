package puller_test

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/cmd/cigogne/client"
	"github.com/esante-alsace/cigogne/cmd/cigogne/progress"
	"github.com/esante-alsace/cigogne/cmd/cigogne/puller"
	"github.com/esante-alsace/cigogne/gateway/dicomweb"
	"github.com/esante-alsace/cigogne/storage"
)

const (
	study  = "2.25.1"
	prefix = 300
)

// fake is a gateway with one study, that fails as it is told.
type fake struct {
	zip     []byte
	files   map[string][]byte // by their path in a folder
	digests dicomweb.Digests
	served  atomic.Int64
	// spoil, when set, may change the n-th range that is given. mu is held.
	spoil func(n int64, p *client.Part)
	parts atomic.Int64
	mu    sync.Mutex
}

// newFake makes a study of instances of these sizes.
func newFake(t *testing.T, sizes ...int) *fake {
	t.Helper()
	f := &fake{files: map[string][]byte{}}
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i, size := range sizes {
		file := bytes.Repeat([]byte(fmt.Sprintf("instance %d.", i)), size/10+1)[:size]
		in := dicomweb.DigestOf{
			SeriesInstanceUID: "2.25.2", SOPInstanceUID: fmt.Sprintf("2.25.%d", 100+i), Size: int64(size), Prefix: prefix,
			CRC32: crc32.ChecksumIEEE(file), Digest: storage.DigestOf(file[prefix:]),
		}
		name := in.SeriesInstanceUID + "/" + in.SOPInstanceUID + ".dcm"
		w, err := z.CreateRaw(&zip.FileHeader{Name: name, Method: zip.Store, CRC32: in.CRC32, CompressedSize64: uint64(size), UncompressedSize64: uint64(size)})
		if err != nil {
			t.Fatal(err)
		}
		z.Flush()
		in.Offset = int64(b.Len())
		w.Write(file)
		f.files[filepath.Join(study, name)] = file
		f.digests.Instances = append(f.digests.Instances, in)
	}
	z.Close()
	f.zip = b.Bytes()
	f.digests.ETag, f.digests.Size = `"one.zip"`, int64(b.Len())
	return f
}

func (f *fake) Digests(context.Context, string) (dicomweb.Digests, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.digests, nil
}

func (f *fake) Zip(ctx context.Context, _, etag string, want storage.Range) (*client.Part, error) {
	d, _ := f.Digests(ctx, study)
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case etag != "" && etag != d.ETag:
		return nil, client.ErrChanged
	case want.Offset >= d.Size:
		return nil, client.ErrBeyond
	}
	want.Length = min(want.Length, d.Size-want.Offset)
	p := &client.Part{Range: want, ETag: d.ETag, Size: d.Size}
	p.ReadCloser = io.NopCloser(&counting{bytes.NewReader(f.zip[want.Offset:want.End()]), f})
	if f.spoil != nil {
		f.spoil(f.parts.Add(1), p)
	}
	return p, nil
}

type counting struct {
	io.Reader
	f *fake
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.f.served.Add(int64(n))
	return n, err
}

// flipping changes one byte of the file when it passes for the first time,
// whatever range it passes in.
type flipping struct {
	io.ReadCloser
	after int64
	once  *atomic.Bool
}

func (f *flipping) Read(p []byte) (int, error) {
	n, err := f.ReadCloser.Read(p)
	if f.after >= 0 && f.after < int64(n) && f.once.CompareAndSwap(false, true) {
		p[f.after] ^= 1
	}
	f.after -= int64(n)
	return n, err
}

// flip spoils the byte at an offset of the file, once.
func flip(at int64) func(int64, *client.Part) {
	once := &atomic.Bool{}
	return func(_ int64, p *client.Part) {
		p.ReadCloser = &flipping{p.ReadCloser, at - p.Range.Offset, once}
	}
}

func cut(p *client.Part, after int64) {
	p.ReadCloser = io.NopCloser(io.MultiReader(io.LimitReader(p.ReadCloser, after), failing{}))
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("connection reset by peer") }

func pull(ctx context.Context, f *fake, o puller.Options) (puller.Outcome, string, error) {
	var said bytes.Buffer
	o.Gateway, o.StudyInstanceUID = f, study
	o.Work = progress.Start(progress.Options{JSON: &said, Every: time.Hour})
	o.Patience = &client.Patience{Limit: time.Minute}
	if o.Connections == 0 {
		o.Connections = 3
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	out, err := puller.Run(ctx, o)
	o.Work.End()
	return out, said.String(), err
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

// TestDamageOnTheDiskIsFound: what a pull finds is not believed for its name.
func TestDamageOnTheDiskIsFound(t *testing.T) {
	f := newFake(t, sizes()...)
	o, compare := places(t)["folder"](f)
	if _, _, err := pull(t.Context(), f, o); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(o.Folder, study, "2.25.2", "2.25.100.dcm")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[mib/2]++
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	out, said, err := pull(t.Context(), f, o)
	if want := (puller.Outcome{Pulled: 1, Present: int64(len(sizes()) - 1)}); err != nil || out != want {
		t.Fatalf("%+v, %v, want %+v\n%s", out, err, want, said)
	}
	compare(t)
}

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
			if out, said, err := pull(t.Context(), f, o); err != nil || out.Left != 0 {
				t.Fatalf("%+v, %v\n%s", out, err, said)
			}
			compare(t)
			if served, most := f.served.Load(), after.digests.Size+after.digests.Size/4; served > most {
				t.Errorf("%d bytes were fetched of a file of %d", served, after.digests.Size)
			}
		})
	}
}

// TestNothingDamagedGetsAName: a gateway that gives other bytes than it says
// is found out, and leaves nothing under a final name.
func TestNothingDamagedGetsAName(t *testing.T) {
	for name, place := range places(t) {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, sizes()...)
			f.digests.Instances[6].Digest[0]++
			o, _ := place(f)
			if out, said, err := pull(t.Context(), f, o); !errors.Is(err, storage.ErrCorrupt) {
				t.Fatalf("%+v, %v\n%s", out, err, said)
			}
			for _, path := range []string{o.ZIP, filepath.Join(o.Folder, study, "2.25.2", "2.25.106.dcm")} {
				if _, err := os.Stat(path); path != "" && err == nil {
					t.Errorf("%s is there", path)
				}
			}
		})
	}
	f := newFake(t, 1000, 2000)
	copy(f.zip[len(f.zip)-100:], "garbage")
	if _, _, err := pull(t.Context(), f, puller.Options{ZIP: filepath.Join(t.TempDir(), "s.zip")}); !errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("a damaged directory: %v", err)
	}
}

// TestHostileDigests: what a gateway says never leads out of the folder.
func TestHostileDigests(t *testing.T) {
	for name, change := range map[string]func(d *dicomweb.Digests){
		"a path as UID":     func(d *dicomweb.Digests) { d.Instances[0].SOPInstanceUID = "../../x" },
		"a path as series":  func(d *dicomweb.Digests) { d.Instances[0].SeriesInstanceUID = ".." },
		"beyond the end":    func(d *dicomweb.Digests) { d.Instances[1].Size = 1 << 62 },
		"negative":          func(d *dicomweb.Digests) { d.Instances[0].Size = -1 },
		"over each other":   func(d *dicomweb.Digests) { d.Instances[1].Offset = d.Instances[0].Offset + 1 },
		"twice":             func(d *dicomweb.Digests) { d.Instances[1].SOPInstanceUID = d.Instances[0].SOPInstanceUID },
		"prefix beyond all": func(d *dicomweb.Digests) { d.Instances[0].Prefix = 1 << 40 },
		"none":              func(d *dicomweb.Digests) { d.Instances = nil },
	} {
		f := newFake(t, 1000, 2000)
		change(&f.digests)
		dir := t.TempDir()
		out, _, err := pull(t.Context(), f, puller.Options{Folder: dir})
		if !errors.Is(err, storage.ErrInvalid) {
			t.Errorf("%s: %+v, %v", name, out, err)
		}
		only(t, dir, 0)
	}
}

const copyBytes = 256 << 10

// reading reads with a function.
type reading func([]byte) (int, error)

func (r reading) Read(p []byte) (int, error) { return r(p) }
