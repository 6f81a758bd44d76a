package pack_test

import (
	"context"
	"io"
	"runtime"
	"testing"

	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/pack"
)

// peak tells by how much the heap grew, at most, when it is looked at.
type peak struct{ start, most uint64 }

func (p *peak) look() {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if p.start == 0 {
		p.start = m.HeapAlloc
	}
	p.most = max(p.most, m.HeapAlloc)
}

// TestHugeMetadataIsStreamed builds and reads an instance whose metadata is
// larger than what may be in memory, as of an enhanced multi-frame.
func TestHugeMetadataIsStreamed(t *testing.T) {
	if testing.Short() {
		t.Skip("measures memory")
	}
	const lines, allowed = 200_000, 24 << 20
	line := []byte(`"00089215":{"vr":"SQ","Value":[{"00080100":{"vr":"SH","Value":["an item of a per-frame functional group"]},"00080104":{"vr":"LO","Value":["with a meaning in so many words that a line has more than two hundred bytes"]}}]},`)
	huge := member(2, make([]byte, 10), "{}")
	var heap peak
	huge.WriteMetadata = func(_ context.Context, w io.Writer) error {
		if _, err := io.WriteString(w, "{"); err != nil {
			return err
		}
		for i := range lines {
			if i%10_000 == 0 {
				heap.look()
			}
			if _, err := w.Write(line); err != nil {
				return err
			}
		}
		_, err := io.WriteString(w, `"00100010":{"vr":"PN"}}`)
		return err
	}
	runtime.GC()
	heap.look()
	stored := read(t, build(t, pack.Options{SpoolDir: t.TempDir()}, []pack.Member{instance(1, 10, 500), huge, instance(3, 10, 500)}))
	var total int64
	err := directory(t, stored).Details(t.Context(), stored, 1, 3, func(i int, _ *dicom.Layout, metadata io.Reader) error {
		buf := make([]byte, 1<<20)
		for {
			n, err := metadata.Read(buf)
			total += int64(n)
			if i == 1 && total%(64<<10) == 0 {
				heap.look()
			}
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
		}
	})
	if err != nil || total < lines*int64(len(line)) {
		t.Errorf("%d bytes came: %v", total, err)
	}
	if grown := heap.most - heap.start; grown > allowed {
		t.Errorf("%d bytes of metadata took %d of memory, want at most %d", total, grown, allowed)
	}
}
