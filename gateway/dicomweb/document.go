package dicomweb

import (
	"context"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strconv"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage"
)

// segment is a stretch of an answer: bytes that are made here, or else size
// bytes that open reads a range of.
type segment struct {
	literal []byte
	size    int64
	open    func(ctx context.Context, r storage.Range) (io.ReadCloser, error)
}

// stored is a range of the stored form of an instance.
func stored(in gateway.Instance, r storage.Range) segment {
	return segment{size: r.Length, open: func(ctx context.Context, sub storage.Range) (io.ReadCloser, error) {
		return in.Open(ctx, r.Sub(sub))
	}}
}

func (s segment) length() int64 {
	if s.open == nil {
		return int64(len(s.literal))
	}
	return s.size
}

// document is a body whose length is known before its first byte.
type document struct {
	contentType string
	// etag is an entity tag with its quotes, weak when the bytes differ from
	// one answer to the next, or empty for none.
	etag string
	// ranges tells that parts of it may be asked for.
	ranges   bool
	filename string // offered to browsers when not empty
	// segments yields the same segments each time; a literal is valid until
	// the next.
	segments iter.Seq[segment]
}

func (d document) size() int64 {
	var n int64
	for s := range d.segments {
		n += s.length()
	}
	return n
}

// send answers with the document, or with what the client asks of it: nothing
// when it has it already or demands another, its header, or a range (RFC 9110
// §13, §14).
func (s *service) send(w *answer, r *http.Request, d document) error {
	header := w.Header()
	header.Add("Vary", "Accept")
	header.Set("Cache-Control", "private, no-cache") // kept, but asked about each time
	if d.etag != "" {
		header.Set("ETag", d.etag)
	}
	if demanded := r.Header.Values("If-Match"); len(demanded) > 0 && !matchesStrongly(demanded, d.etag) {
		return answerWith(http.StatusPreconditionFailed, fmt.Errorf("%w: it is not what If-Match names", storage.ErrMismatch))
	}
	if d.etag != "" && matches(r.Header.Values("If-None-Match"), d.etag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	size := d.size()
	want, status := storage.Range{Length: size}, http.StatusOK
	if d.ranges {
		header.Set("Accept-Ranges", "bytes")
		part, ok, err := askedRange(r, d.etag, size)
		if err != nil {
			header.Set("Content-Range", "bytes */"+strconv.FormatInt(size, 10))
			return err
		}
		if ok {
			want, status = part, http.StatusPartialContent
			header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", part.Offset, part.End()-1, size))
		}
	}
	header.Set("Content-Type", d.contentType)
	header.Set("Content-Length", strconv.FormatInt(want.Length, 10))
	if d.filename != "" {
		header.Set("Content-Disposition", `attachment; filename="`+d.filename+`"`)
	}
	if r.Method == http.MethodHead {
		w.WriteHeader(status)
		return nil
	}
	return s.copySegments(r.Context(), w, status, d.segments, want)
}

// heldMost bounds the bytes made here that wait for the first that are stored.
const heldMost = 4 << 10

// copySegments writes the bytes of want. The header goes out, and with it what
// is made here before, when the first stored segment was opened, so that one that
// cannot be is answered with an error.
func (s *service) copySegments(ctx context.Context, w *answer, status int, segments iter.Seq[segment], want storage.Range) error {
	var at int64
	var held []byte
	for seg := range segments {
		length := seg.length()
		begin, end := max(want.Offset-at, 0), min(want.End()-at, length)
		at += length
		switch {
		case begin >= end:
		case seg.open == nil && w.status == 0 && int64(len(held))+end-begin <= heldMost:
			held = append(held, seg.literal[begin:end]...)
		default:
			if err := copySegment(ctx, w, status, held, seg, storage.Range{Offset: begin, Length: end - begin}); err != nil {
				return err
			}
			held = nil
		}
		if at >= want.End() {
			break
		}
	}
	return w.beginWith(status, held)
}

// copySegment writes what was held back, and a range of a segment.
func copySegment(ctx context.Context, w *answer, status int, held []byte, seg segment, r storage.Range) error {
	if seg.open == nil {
		if err := w.beginWith(status, held); err != nil {
			return err
		}
		_, err := w.Write(seg.literal[r.Offset:r.End()])
		return err
	}
	body, err := seg.open(ctx, r)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := w.beginWith(status, held); err != nil {
		return err
	}
	n, err := copyAll(w, body)
	if err == nil && n != r.Length {
		err = fmt.Errorf("%w: %d bytes where %d are stored", storage.ErrCorrupt, n, r.Length)
	}
	return err
}

// copyAll lets the reader hand its file to the kernel where it can.
func copyAll(w *answer, body io.Reader) (int64, error) {
	if from, ok := body.(io.WriterTo); ok {
		return from.WriteTo(w)
	}
	return w.ReadFrom(body)
}
