package s3_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive/archivetest"
	"github.com/esante-alsace/cigogne/storage/archive/archivetest/s3test"
	"github.com/esante-alsace/cigogne/storage/archive/s3"
)

// faulty is an archive behind a proxy on a server.
func faulty(t *testing.T, more ...func(*s3.Options)) (*s3.Archive, *s3test.Proxy, *s3test.Server) {
	t.Helper()
	server := s3test.Start(t)
	proxy := s3test.StartProxy(t, server.URL())
	more = append([]func(*s3.Options){func(o *s3.Options) {
		o.WritePart, o.ReadPart, o.Timeout = 5<<20, 1<<20, 300*time.Millisecond
		o.Attempts = 12 // every second request fails, and of many at once some are unlucky
	}}, more...)
	return open(t, proxy.URL, more...), proxy, server
}

// every has each n-th request of a method suffer a fault.
func every(n int64, method string, f s3test.Fault) func(*http.Request) s3test.Fault {
	var count atomic.Int64
	return func(r *http.Request) s3test.Fault {
		if r.Method == method && count.Add(1)%n == 1 {
			return f
		}
		return s3test.Fault{}
	}
}

func read(t *testing.T, a *s3.Archive, key string, r storage.Range) ([]byte, error) {
	t.Helper()
	rc, err := a.Get(t.Context(), key, r)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	return io.ReadAll(rc)
}

// TestPutThroughFaults: whatever happens to one request in two, or to each
// kind of one, the object is stored once and whole.
func TestPutThroughFaults(t *testing.T) {
	a, proxy, _ := faulty(t)
	for name, f := range map[string]s3test.Fault{
		"latency":      {Delay: 20 * time.Millisecond},
		"silence":      {Delay: time.Minute},
		"500":          {Status: 500, Code: "InternalError"},
		"slow down":    {Status: 503, Code: "SlowDown"},
		"reset":        {Reset: true},
		"answer lost":  {Reset: true, LoseAnswer: true},
		"flipped byte": {FlipRequest: 1000},
	} {
		for _, method := range []string{http.MethodPut, http.MethodPost} {
			for _, size := range []int{0, 100_000, 12 << 20} {
				if f.FlipRequest > 0 && method == http.MethodPost || f.FlipRequest > int64(size) {
					continue // the XML of a POST is not what is put
				}
				key, data := strings.ReplaceAll(name, " ", "-")+"/"+method+"/"+string(rune('a'+size%7)), archivetest.Random(9, size)
				proxy.Do(every(2, method, f))
				if _, err := a.Put(t.Context(), key, data); err != nil {
					t.Errorf("%s of %s, %d bytes: %v", name, method, size, err)
				}
				proxy.Do(nil)
				if got, err := read(t, a, key, storage.Range{Length: int64(size)}); err != nil || !bytes.Equal(got, data) {
					t.Errorf("%s of %s, %d bytes: read %d bytes, %v", name, method, size, len(got), err)
				}
			}
		}
	}
	if n, err := a.Sweep(t.Context(), time.Now().Add(time.Hour)); err != nil {
		t.Errorf("sweep: %d, %v", n, err)
	}
	if n, err := a.Sweep(t.Context(), time.Now().Add(time.Hour)); err != nil || n != 0 {
		t.Errorf("a second sweep found %d, %v", n, err)
	}
}

// TestGetThroughFaults: faults of one request in two do not reach the reader.
func TestGetThroughFaults(t *testing.T) {
	a, proxy, _ := faulty(t)
	data := archivetest.Random(10, 7<<20+13)
	if _, err := a.Put(t.Context(), "k", data); err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]s3test.Fault{
		"latency":      {Delay: 20 * time.Millisecond},
		"silence":      {Delay: time.Minute},
		"500":          {Status: 500, Code: "InternalError"},
		"slow down":    {Status: 503, Code: "SlowDown"},
		"reset":        {Reset: true},
		"cut":          {CutAnswer: 700_000},
		"stalled":      {StallAnswer: 700_000},
		"flipped byte": {FlipAnswer: 600_001},
	} {
		for _, r := range []storage.Range{{Length: int64(len(data))}, {Offset: 999_999, Length: 3 << 20}, {Offset: 5, Length: 900_000}} {
			proxy.Do(every(2, http.MethodGet, f))
			got, err := read(t, a, "k", r)
			if err != nil || !bytes.Equal(got, data[r.Offset:r.End()]) {
				t.Errorf("%s: %+v: %d bytes, %v", name, r, len(got), err)
			}
		}
	}
}

// TestGivesUp: what does not get better ends, in time, and says what it was.
func TestGivesUp(t *testing.T) {
	hasty, proxy, server := faulty(t, func(o *s3.Options) { o.Attempts = 2 })
	a := open(t, proxy.URL, func(o *s3.Options) { o.Attempts, o.Timeout = 2, time.Minute })
	if _, err := a.Put(t.Context(), "k", archivetest.Random(11, 100_000)); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		fault s3test.Fault
		want  error
	}{
		"503":       {s3test.Fault{Status: 503, Code: "SlowDown"}, storage.ErrUnavailable},
		"507":       {s3test.Fault{Status: 507, Code: "InsufficientStorage"}, storage.ErrFull},
		"quota":     {s3test.Fault{Status: 403, Code: "QuotaExceeded"}, storage.ErrFull},
		"forbidden": {s3test.Fault{Status: 403, Code: "AccessDenied"}, storage.ErrUnavailable},
		"no bucket": {s3test.Fault{Status: 404, Code: "NoSuchBucket"}, storage.ErrUnavailable},
		"silence":   {s3test.Fault{Delay: time.Minute}, storage.ErrUnavailable},
		"reset":     {s3test.Fault{Reset: true}, storage.ErrUnavailable},
		"flip":      {s3test.Fault{FlipRequest: 7}, storage.ErrUnavailable},
	} {
		proxy.Do(func(r *http.Request) s3test.Fault {
			if r.Method == http.MethodPut {
				return c.fault
			}
			return s3test.Fault{}
		})
		to := a
		if c.fault.Delay > 0 {
			to = hasty
		}
		began := time.Now()
		if _, err := to.Put(t.Context(), "other", archivetest.Random(12, 100_000)); !errors.Is(err, c.want) {
			t.Errorf("Put through %s: %v, want %v", name, err, c.want)
		}
		if took := time.Since(began); took > time.Minute {
			t.Errorf("Put through %s took %v", name, took)
		}
	}
	proxy.Do(nil)
	server.Kill(t)
	for name, err := range map[string]error{"Check": a.Check(t.Context()), "Remove": a.Remove(t.Context(), "k")} {
		if !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("%s of a server that is away: %v", name, err)
		}
	}
	server.Restart(t)
	if got, err := read(t, a, "k", storage.Range{Length: 100_000}); err != nil || !bytes.Equal(got, archivetest.Random(11, 100_000)) {
		t.Errorf("after the server came back: %v", err)
	}
}

// TestDamagedAtRest changes a byte under the server and expects that no byte
// of its block is handed out, in ranges that reach it, and all others are.
func TestDamagedAtRest(t *testing.T) {
	a, _, server := faulty(t, func(o *s3.Options) { o.Timeout = time.Minute })
	data := archivetest.Random(13, 3<<20)
	if _, err := a.Put(t.Context(), "k", data); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(server.Dir, s3test.Bucket, "site/packs/k"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const at = 1<<20 + 77
	if _, err := f.WriteAt([]byte{data[at] ^ 1}, at); err != nil {
		t.Fatal(err)
	}
	got, err := read(t, a, "k", storage.Range{Length: 3 << 20})
	if !errors.Is(err, storage.ErrCorrupt) || !bytes.Equal(got, data[:1<<20]) {
		t.Errorf("the whole: %d bytes, %v", len(got), err)
	}
	if _, err := read(t, a, "k", storage.Range{Offset: at + 10, Length: 1}); !errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("a byte beside it: %v", err)
	}
	if got, err := read(t, a, "k", storage.Range{Offset: 2 << 20, Length: 1 << 20}); err != nil || !bytes.Equal(got, data[2<<20:]) {
		t.Errorf("what lies behind it: %v", err)
	}
}

// TestFlippedForEver: where every answer comes damaged, no byte of its block
// leaves the reader, and where every request does, nothing is stored.
func TestFlippedForEver(t *testing.T) {
	a, proxy, _ := faulty(t, func(o *s3.Options) { o.Attempts, o.Timeout = 3, time.Minute })
	data := archivetest.Random(15, 12<<20)
	if _, err := a.Put(t.Context(), "k", data); err != nil {
		t.Fatal(err)
	}
	proxy.Do(func(*http.Request) s3test.Fault { return s3test.Fault{FlipRequest: 70_000, FlipAnswer: 100_001} })
	if got, err := read(t, a, "k", storage.Range{Length: 1 << 20}); !errors.Is(err, storage.ErrCorrupt) || len(got) > 0 {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	for _, size := range []int{100_000, 12 << 20} {
		if _, err := a.Put(t.Context(), "other", data[:size]); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("Put of %d bytes: %v", size, err)
		}
	}
	proxy.Do(nil)
	if _, err := a.Stat(t.Context(), "other"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("what came damaged was stored: %v", err)
	}
}

// TestRequests counts what objects cost.
func TestRequests(t *testing.T) {
	a, proxy, _ := faulty(t, func(o *s3.Options) { o.WritePart, o.ReadPart, o.Timeout = 16<<20, 8<<20, time.Minute })
	for _, c := range []struct{ size, put, get int }{
		{0, 1, 1}, {100, 1, 1}, {8 << 20, 1, 1}, {16 << 20, 1, 2},
		{40 << 20, 2 + 3 + 2, 5}, // a look at key and bucket; begin, three parts, finish
	} {
		data := archivetest.Random(14, c.size)
		key := "k" + string(rune('a'+c.size%11))
		proxy.Reset()
		if _, err := a.Put(t.Context(), key, data); err != nil {
			t.Fatal(err)
		}
		if n := proxy.Requests(""); n != c.put {
			t.Errorf("Put of %d bytes: %d requests, want %d", c.size, n, c.put)
		}
		proxy.Reset()
		if got, err := read(t, a, key, storage.Range{Length: int64(c.size)}); err != nil || len(got) != c.size {
			t.Fatal(len(got), err)
		}
		if n := proxy.Requests(""); n != c.get {
			t.Errorf("Get of %d bytes: %d requests, want %d", c.size, n, c.get)
		}
	}
}
