package dicomweb

import (
	"bytes"
	"net/http"
	"strconv"
)

// holdBack is how much of a JSON answer is held before the header is sent: up
// to there its length is known and an error can still be answered as one.
const holdBack = 256 << 10

// jsonArray streams a JSON array of DICOM JSON objects. It writes in pieces of
// holdBack, and with a Content-Length when that is all of it.
type jsonArray struct {
	w        *answer
	head     bool
	content  string
	buf      *bytes.Buffer
	elements int
	lend     func(*bytes.Buffer)
	// onOverflow, when not nil, may add to the header just before it is sent
	// without knowing the end.
	onOverflow func()
}

func (s *service) newJSONArray(w *answer, r *http.Request, content string) *jsonArray {
	a := &jsonArray{w: w, head: r.Method == http.MethodHead, content: content}
	a.buf = s.buffers.text.Get().(*bytes.Buffer)
	a.buf.Reset()
	a.buf.WriteByte('[')
	a.lend = func(b *bytes.Buffer) { s.buffers.text.Put(b) }
	return a
}

// release gives the buffer back; it must be called once.
func (a *jsonArray) release() {
	if a.buf.Cap() <= 2*holdBack {
		a.lend(a.buf)
	}
	a.buf = nil
}

// held tells whether the header can still be changed.
func (a *jsonArray) held() bool { return a.w.status == 0 }

// element adds one object.
func (a *jsonArray) element(object []byte) error {
	a.next()
	_, err := a.Write(object)
	return err
}

// next parts the elements; what is written after it is the next one.
func (a *jsonArray) next() {
	if a.elements > 0 {
		a.buf.WriteByte(',')
	}
	a.elements++
}

// Write implements io.Writer.
func (a *jsonArray) Write(p []byte) (int, error) {
	a.buf.Write(p)
	return len(p), a.flow()
}

// flow sends what is buffered when it is much.
func (a *jsonArray) flow() error {
	if a.buf.Len() < holdBack {
		return nil
	}
	if a.held() {
		if a.onOverflow != nil {
			a.onOverflow()
		}
		a.header()
	}
	if a.head {
		a.buf.Reset()
		return nil
	}
	_, err := a.buf.WriteTo(a.w)
	return err
}

func (a *jsonArray) header() {
	a.w.Header().Set("Content-Type", a.content)
	a.w.Header().Add("Vary", "Accept")
	a.w.Header().Set("Cache-Control", "private, no-cache")
	a.w.WriteHeader(http.StatusOK)
}

// close ends the array and sends the rest.
func (a *jsonArray) close() error {
	a.buf.WriteByte(']')
	if a.held() {
		a.w.Header().Set("Content-Length", strconv.Itoa(a.buf.Len()))
		a.header()
	}
	if a.head {
		return nil
	}
	_, err := a.buf.WriteTo(a.w)
	return err
}
