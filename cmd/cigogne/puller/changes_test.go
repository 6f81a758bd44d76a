package puller_test

import (
	"testing"

	"github.com/esante-alsace/cigogne/cmd/cigogne/client"
)

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
