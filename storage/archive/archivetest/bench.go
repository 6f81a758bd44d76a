package archivetest

import (
	"fmt"
	"io"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
)

// Bench runs the benchmarks that compare backends: Put and Get of a small and
// of a pack-sized object, and a ranged Get as of one instance or frame.
func Bench(b *testing.B, open Open) {
	for _, size := range []int{512 << 10, 32 << 20} {
		b.Run(fmt.Sprintf("Put/%dKiB", size>>10), func(b *testing.B) { benchPut(b, open(b), size) })
		b.Run(fmt.Sprintf("Get/%dKiB", size>>10), func(b *testing.B) { benchGet(b, open(b), size, int64(size)) })
	}
	b.Run("GetRange/64KiB", func(b *testing.B) { benchGet(b, open(b), 32<<20, 64<<10) })
}

func benchPut(b *testing.B, a archive.Archive, size int) {
	data := Random(0, size)
	b.SetBytes(int64(size))
	n := 0
	for b.Loop() {
		key := fmt.Sprintf("bench/%d", n)
		n++
		if _, err := a.Put(b.Context(), key, data); err != nil {
			b.Fatal(err)
		}
		b.StopTimer() // what was put does not pile up
		if err := a.Remove(b.Context(), key); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func benchGet(b *testing.B, a archive.Archive, size int, length int64) {
	if _, err := a.Put(b.Context(), "bench/a", Random(0, size)); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(length)
	buf := make([]byte, 256<<10)
	for b.Loop() {
		r, err := a.Get(b.Context(), "bench/a", storage.Range{Offset: int64(size) - length, Length: length})
		if err != nil {
			b.Fatal(err)
		}
		n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r}, buf)
		if err != nil || n != length {
			b.Fatal(n, err)
		}
		r.Close()
	}
}
