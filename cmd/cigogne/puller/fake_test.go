package puller_test

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/esante-alsace/cigogne/cmd/cigogne/client"
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
	// rotten are instances that the gateway cannot read.
	rotten []int
	mu     sync.Mutex
	// gone: the gateway has no such study any more.
	gone bool
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
	if f.gone {
		return f.digests, storage.ErrNotFound
	}
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
	for _, i := range f.rotten {
		in := d.Instances[i]
		var begin int64 // of its record
		if i > 0 {
			begin = d.Instances[i-1].Offset + d.Instances[i-1].Size
		}
		switch {
		case want.Offset >= begin && want.Offset < in.Offset+in.Size:
			return nil, &client.Refusal{Status: http.StatusInternalServerError, Text: "it is rotten"}
		case want.Offset < begin && want.End() > in.Offset:
			cut(p, in.Offset-want.Offset)
		}
	}
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

// reading reads with a function.
type reading func([]byte) (int, error)

func (r reading) Read(p []byte) (int, error) { return r(p) }
