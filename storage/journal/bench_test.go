package journal_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/journal"
)

// BenchmarkAppend makes entries durable from 1, 4 and 16 appenders, next to
// the limit: as many goroutines that write a file each and fsync it.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{4 << 10, 22 << 10, 526_000} {
		body := random(b, size)
		for _, appenders := range []int{1, 4, 16} {
			name := fmt.Sprintf("%dKB/%d", size/1000, appenders)
			b.Run(name+"/journal", func(b *testing.B) { benchmarkJournal(b, appenders, body) })
			b.Run(name+"/bare", func(b *testing.B) { benchmarkBare(b, appenders, body) })
		}
	}
}

func benchmarkJournal(b *testing.B, appenders int, body []byte) {
	j := open(b, journal.Options{Dir: benchDir(b)})
	removeSealed := func() {
		for _, s := range j.Segments() {
			if s.Sealed {
				if err := j.Remove(b.Context(), s.Number); err != nil {
					b.Error(err)
				}
			}
		}
	}
	share(b, appenders, int64(len(body)), func(i int) error {
		_, err := tryPut(b.Context(), j, "", "header", body)
		if i%1000 == 999 {
			removeSealed()
		}
		return err
	})
	st := j.Stats()
	b.ReportMetric(float64(st.Entries)/float64(max(st.Fsyncs, 1)), "entries/fsync")
}

func benchmarkBare(b *testing.B, appenders int, body []byte) {
	dir := benchDir(b)
	share(b, appenders, int64(len(body)), func(i int) error {
		name := filepath.Join(dir, strconv.Itoa(i))
		f, err := os.Create(name)
		if err != nil {
			return err
		}
		defer os.Remove(name)
		defer f.Close()
		if _, err := f.Write(body); err != nil {
			return err
		}
		return f.Sync()
	})
}

// benchDir is on the disk that CIGOGNE_BENCH_DIR names: /tmp may be memory.
func benchDir(b *testing.B) string {
	dir, err := os.MkdirTemp(os.Getenv("CIGOGNE_BENCH_DIR"), "journal")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// share divides b.N calls among goroutines.
func share(b *testing.B, goroutines int, size int64, call func(i int) error) {
	b.SetBytes(size)
	b.ReportAllocs()
	b.ResetTimer()
	next := make(chan int, goroutines)
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for i := range next {
				if err := call(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	for i := range b.N {
		next <- i
	}
	close(next)
	wg.Wait()
	b.StopTimer()
}

// BenchmarkAppendLarge makes an entry of 256 MB durable, in a file of its own.
func BenchmarkAppendLarge(b *testing.B) {
	j := open(b, journal.Options{Dir: benchDir(b)})
	part := random(b, 1<<20)
	b.SetBytes(256 << 20)
	for b.Loop() {
		a := j.NewAppend(b.Context())
		for range 256 {
			if _, err := a.Write(part); err != nil {
				b.Fatal(err)
			}
		}
		p, err := a.Commit(nil, nil, nil)
		if err != nil {
			b.Fatal(err)
		}
		e, err := p.Wait(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if err := errors.Join(j.Seal(b.Context()), j.Remove(b.Context(), e.Position.Segment)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRead sends an entry over a TCP connection.
func BenchmarkRead(b *testing.B) {
	j := open(b, journal.Options{Dir: benchDir(b)})
	e := put(b, j, "", "h", random(b, 526_000))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if c, err := l.Accept(); err == nil {
			_, _ = io.Copy(io.Discard, c)
			c.Close()
		}
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(e.Size)
	b.ReportAllocs()
	for b.Loop() {
		r, err := j.Read(b.Context(), e.Position, storage.Range{Length: e.Size})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(c, r); err != nil {
			b.Fatal(err)
		}
		r.Close()
	}
	c.Close()
	<-done
}
