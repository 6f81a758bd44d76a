package s3_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/xml"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive/s3"
)

// zeros is a Source of any size that is nowhere.
type zeros int64

func (z zeros) Size() int64 { return int64(z) }

func (z zeros) Open(_ context.Context, r storage.Range) (io.ReadCloser, error) {
	return io.NopCloser(io.LimitReader(zeroReader{}, r.Length)), nil
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// sink is a server for one multipart upload that keeps nothing but what the
// protocol's bounds and the checksums are about. A real one stores what it is
// sent, for which disks are too small.
type sink struct {
	mu      sync.Mutex
	lengths map[int]int64
	sums    map[int]string
	whole   string
	failure string
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	switch {
	case r.Method == http.MethodHead && q.Get("list-type") == "" && r.URL.Path != "/bucket":
		w.WriteHeader(http.StatusNotFound)
	case r.Method == http.MethodHead:
	case r.Method == http.MethodPost && q.Has("uploads"):
		fmt.Fprint(w, `<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>`)
	case r.Method == http.MethodPut && q.Get("uploadId") == "u":
		s.part(w, r, q.Get("partNumber"))
	case r.Method == http.MethodPost && q.Get("uploadId") == "u":
		s.complete(w, r)
	default:
		s.fail(w, "%s %s", r.Method, r.URL)
	}
}

func (s *sink) fail(w http.ResponseWriter, format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failure = fmt.Sprintf(format, args...)
	w.WriteHeader(http.StatusBadRequest)
}

func (s *sink) part(w http.ResponseWriter, r *http.Request, number string) {
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	n, err := io.CopyBuffer(sum, struct{ io.Reader }{r.Body}, make([]byte, 1<<20))
	got := base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum.Sum32()))
	i, aerr := strconv.Atoi(number)
	if err != nil || aerr != nil || got != r.Header.Get("X-Amz-Checksum-Crc32c") {
		s.fail(w, "part %s: %d bytes with %s, said %s; %v", number, n, got, r.Header.Get("X-Amz-Checksum-Crc32c"), err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lengths[i], s.sums[i] = n, got
	w.Header().Set("ETag", `"`+number+`"`)
	w.Header().Set("X-Amz-Checksum-Crc32c", got)
}

func (s *sink) complete(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		Part []struct {
			PartNumber     int
			ChecksumCRC32C string
		}
	}
	if err := xml.NewDecoder(r.Body).Decode(&asked); err != nil || len(asked.Part) != len(s.lengths) {
		s.fail(w, "complete: %d parts of %d, %v", len(asked.Part), len(s.lengths), err)
		return
	}
	for i, p := range asked.Part {
		if p.PartNumber != i+1 || p.ChecksumCRC32C != s.sums[i+1] {
			s.fail(w, "complete: part %d is %+v", i+1, p)
			return
		}
	}
	s.whole = r.Header.Get("X-Amz-Checksum-Crc32c")
	fmt.Fprintf(w, `<CompleteMultipartUploadResult><ChecksumCRC32C>%s</ChecksumCRC32C><ChecksumType>FULL_OBJECT</ChecksumType></CompleteMultipartUploadResult>`, s.whole)
}

// TestMoreThanOneRequestMayHold puts an object beyond the 5 GiB that one
// request may have: it goes in parts within the protocol's bounds, and its
// checksum is that of the whole.
func TestMoreThanOneRequestMayHold(t *testing.T) {
	if testing.Short() {
		t.Skip("sends 5 GiB to itself")
	}
	const size = 5<<30 + 1
	s := &sink{lengths: map[int]int64{}, sums: map[int]string{}}
	server := httptest.NewServer(s)
	defer server.Close()
	a := open(t, server.URL, func(o *s3.Options) { o.Bucket, o.WritePart, o.Attempts, o.Timeout = "bucket", 512<<20, 1, time.Minute })
	sum, err := a.Put(t.Context(), "k", zeros(size))
	if err != nil {
		t.Fatal(err, s.failure)
	}
	want := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	block := bytes.Repeat([]byte{0}, 1<<20)
	for left := int64(size); left > 0; left -= int64(len(block)) {
		want.Write(block[:min(left, int64(len(block)))])
	}
	if sum != want.Sum32() || s.whole != base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum)) {
		t.Errorf("checksum %08x, told %s, want %08x", sum, s.whole, want.Sum32())
	}
	total := int64(0)
	for i, n := range s.lengths {
		if total += n; n < 5<<20 && i != len(s.lengths) || n > 5<<30 {
			t.Errorf("part %d of %d bytes", i, n)
		}
	}
	if total != size || len(s.lengths) != 11 {
		t.Errorf("%d bytes in %d parts", total, len(s.lengths))
	}
}
