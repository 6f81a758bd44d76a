package dicomweb

import (
	"bytes"
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	// bufferSize is the size of the buffers that requests and answers share.
	bufferSize = 64 << 10
	// stride is how much is written under one deadline.
	stride = 1 << 20
)

// buffers lends buffers: of bufferSize for bytes that pass, and growing ones
// for text that is made here.
type buffers struct{ bytes, text *sync.Pool }

func newBuffers() buffers {
	return buffers{
		bytes: &sync.Pool{New: func() any { return new([bufferSize]byte) }},
		text:  &sync.Pool{New: func() any { return new(bytes.Buffer) }},
	}
}

func (b buffers) get() *[bufferSize]byte  { return b.bytes.Get().(*[bufferSize]byte) }
func (b buffers) put(p *[bufferSize]byte) { b.bytes.Put(p) }

// answer is the http.ResponseWriter that the routes write to. It moves the
// write deadline ahead as long as the reader makes progress, and counts. It
// keeps io.ReaderFrom within reach, so that a file goes from the disk to the
// socket inside the kernel.
type answer struct {
	http.ResponseWriter
	control *http.ResponseController
	stall   time.Duration
	rolled  time.Time // when the deadline was last moved
	buffers buffers

	status  int // 0 until the header is written
	sent    int64
	told    func(n int64) // of what is sent, as it is; may be nil
	refused bool          // an error answer was written instead
}

func newAnswer(w http.ResponseWriter, stall time.Duration, b buffers) *answer {
	return &answer{ResponseWriter: w, control: http.NewResponseController(w), stall: stall, buffers: b}
}

// Unwrap serves http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.roll()
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

// begin writes the header when it was not written yet.
func (a *answer) begin(status int) {
	if a.status == 0 {
		a.WriteHeader(status)
	}
}

// beginWith is begin, and writes the first bytes, if there are any.
func (a *answer) beginWith(status int, first []byte) error {
	a.begin(status)
	if len(first) == 0 {
		return nil
	}
	_, err := a.Write(first)
	return err
}

// Write implements http.ResponseWriter.
func (a *answer) Write(p []byte) (int, error) {
	a.begin(http.StatusOK)
	a.roll()
	n, err := a.ResponseWriter.Write(p)
	a.count(int64(n))
	return n, err
}

// ReadFrom implements io.ReaderFrom in strides, each with its own deadline. A
// file, or an io.LimitedReader of one, stays recognisable for sendfile(2).
func (a *answer) ReadFrom(src io.Reader) (int64, error) {
	kernel, ok := a.ResponseWriter.(io.ReaderFrom)
	if !ok {
		buf := a.buffers.get()
		defer a.buffers.put(buf)
		return io.CopyBuffer(struct{ io.Writer }{a}, struct{ io.Reader }{src}, buf[:])
	}
	a.begin(http.StatusOK)
	limited, ok := src.(*io.LimitedReader)
	if !ok {
		limited = &io.LimitedReader{R: src, N: 1<<63 - 1}
	}
	var total int64
	for limited.N > 0 {
		a.roll()
		piece := io.LimitedReader{R: limited.R, N: min(limited.N, stride)}
		n, err := kernel.ReadFrom(&piece)
		total += n
		a.count(n)
		limited.N -= n
		if err != nil || piece.N > 0 {
			return total, err
		}
	}
	return total, nil
}

func (a *answer) count(n int64) {
	a.sent += n
	if a.told != nil {
		a.told(n)
	}
}

// roll moves the write deadline ahead, but not for every small write: the
// reader has between 7/8 of stall and the whole of it.
func (a *answer) roll() {
	now := time.Now()
	if now.Sub(a.rolled) < a.stall/8 {
		return
	}
	a.rolled = now
	// Not every http.ResponseWriter has deadlines, httptest's has none; a
	// connection that lost its own fails at the write that follows.
	_ = a.control.SetWriteDeadline(now.Add(a.stall))
}

// flush sends what is still buffered.
func (a *answer) flush() error {
	if err := a.control.Flush(); err != nil && !isUnsupported(err) {
		return err
	}
	return nil
}

// finish sends what is still buffered and takes the deadline away, which would
// otherwise outlive this request on a connection that is kept alive.
func (a *answer) finish() error {
	if err := a.flush(); err != nil {
		return err
	}
	_ = a.control.SetWriteDeadline(time.Time{})
	return nil
}
