package puller_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/esante-alsace/cigogne/cmd/cigogne/client"
	"github.com/esante-alsace/cigogne/cmd/cigogne/puller"
	"github.com/esante-alsace/cigogne/storage"
)

// TestARecordIsDamaged on its way: no digest is of it, and it is found
// nevertheless. The next pull fetches no more than that.
func TestARecordIsDamaged(t *testing.T) {
	f := newFake(t, sizes()...)
	for name, at := range map[string]int64{
		"the name of an instance": f.digests.Instances[2].Offset - 6,
		"the length of one":       f.digests.Instances[2].Offset - 6 - 2*int64(len("2.25.2/")),
		"the directory":           f.digests.Size - 100,
	} {
		t.Run(name, func(t *testing.T) {
			o, compare := places(t)["zip"](f)
			f.spoil = flip(at)
			if out, said, err := pull(t.Context(), f, o); !errors.Is(err, storage.ErrCorrupt) {
				t.Fatalf("%+v, %v\n%s", out, err, said)
			}
			if _, err := os.Stat(o.ZIP); err == nil {
				t.Error("it has its name")
			}
			f.served.Store(0)
			if out, said, err := pull(t.Context(), f, o); err != nil || out.Left != 0 {
				t.Fatalf("%+v, %v\n%s", out, err, said)
			}
			compare(t)
			if n := f.served.Load(); n > 10_000 {
				t.Errorf("%d bytes were fetched again", n)
			}
		})
	}
}

// TestAPageIsLost by a power cut, in which a record lies of which the first
// half is there: the ledger says that all is.
func TestAPageIsLost(t *testing.T) {
	f := newFake(t, sizes()...)
	o, compare := places(t)["zip"](f)
	part, at := bytes.Clone(f.zip), f.digests.Instances[2].Offset
	clear(part[at-10 : at+100])
	ledger := fmt.Sprintf("{\"etag\":%q,\"size\":%d}\n{\"length\":%[2]d}\n", f.digests.ETag, f.digests.Size)
	putParts(t, o, part, ledger)
	out, said, err := pull(t.Context(), f, o)
	if want := (puller.Outcome{Pulled: 1, Present: int64(len(f.files)) - 1}); err != nil || out != want {
		t.Fatalf("%+v, %v, want %+v\n%s", out, err, want, said)
	}
	compare(t)
}

func putParts(t *testing.T, o puller.Options, part []byte, ledger string) {
	t.Helper()
	for path, b := range map[string][]byte{o.ZIP + ".part.ledger": []byte(ledger), o.ZIP + ".part": part} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAFileComesToBeThere while a study is pulled to its name: nothing is
// overwritten, and when it was moved away no more is fetched.
func TestAFileComesToBeThere(t *testing.T) {
	f := newFake(t, sizes()...)
	o, compare := places(t)["zip"](f)
	const another = "a file of somebody else"
	f.spoil = func(int64, *client.Part) {
		if err := os.WriteFile(o.ZIP, []byte(another), 0o600); err != nil {
			t.Error(err)
		}
	}
	if out, said, err := pull(t.Context(), f, o); !errors.Is(err, storage.ErrConflict) {
		t.Errorf("%+v, %v\n%s", out, err, said)
	}
	if b, err := os.ReadFile(o.ZIP); err != nil || string(b) != another {
		t.Fatalf("%d bytes of it are there, %v", len(b), err)
	}
	if err := os.Remove(o.ZIP); err != nil {
		t.Fatal(err)
	}
	f.spoil = nil
	f.served.Store(0)
	if out, said, err := pull(t.Context(), f, o); err != nil || f.served.Load() > 0 {
		t.Fatalf("%+v, %v, %d bytes were fetched\n%s", out, err, f.served.Load(), said)
	}
	compare(t)
}

// TestTheStudyChangesBetween two pulls, of which the first was ended in the
// middle: what it told to be pulled is not fetched again, also when the second
// was killed while it carried that over.
func TestTheStudyChangesBetween(t *testing.T) {
	var sizes []int
	for range 20 {
		sizes = append(sizes, mib/2)
	}
	for _, killed := range []bool{false, true} {
		t.Run(fmt.Sprint("killed in between: ", killed), func(t *testing.T) {
			// One is shorter now, the others lie elsewhere.
			f, after := newFake(t, sizes...), newFake(t, append([]int{5000}, sizes[1:]...)...)
			after.digests.ETag = `"two.zip"`
			o, compare := places(t)["zip"](after)
			o.Connections = 1
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			f.spoil = func(_ int64, p *client.Part) {
				src := p.ReadCloser
				p.ReadCloser = io.NopCloser(reading(func(b []byte) (int, error) {
					if f.served.Load() > f.digests.Size/2 {
						cancel()
						return 0, ctx.Err()
					}
					return src.Read(b)
				}))
			}
			out, said, err := pull(ctx, f, o)
			if !errors.Is(err, context.Canceled) || out.Pulled == 0 || int(out.Pulled) != toldPulled(said) {
				t.Fatalf("%+v, %v\n%s", out, err, said)
			}
			if killed {
				if err := errors.Join(os.Rename(o.ZIP+".part", o.ZIP+".old.part"), os.WriteFile(o.ZIP+".part", make([]byte, mib), 0o600)); err != nil {
					t.Fatal(err)
				}
			}
			again, said, err := pull(t.Context(), after, o)
			if want := (puller.Outcome{Pulled: int64(len(sizes)) - out.Pulled + 1, Present: out.Pulled - 1}); err != nil || again != want {
				t.Fatalf("%+v, %v, want %+v\n%s", again, err, want, said)
			}
			compare(t)
		})
	}
}
