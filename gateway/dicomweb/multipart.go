package dicomweb

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/textproto"
	"strings"

	"github.com/esante-alsace/cigogne/storage"
)

const (
	// maxBoundary is more than the 70 characters that RFC 2046 §5.1.1 allows a
	// boundary: Orthanc's DICOMweb client writes 73.
	maxBoundary = 200
	// maxPreamble bounds what may stand before the first part.
	maxPreamble = 64 << 10
)

// multipartReader parts a multipart body (RFC 2046 §5.1) as it comes, in one
// buffer of fixed size. It is its own because mime/multipart reads 4 KiB at a
// time, takes boundaries of any length and headers of 10 MiB.
//
// After Next, Read yields the part's body and io.EOF at its end. All errors
// but io.EOF are final; those that are about the form wrap storage.ErrInvalid.
type multipartReader struct {
	src       io.Reader
	buf       []byte
	r, w      int    // unread bytes are buf[r:w]
	delimiter []byte // CRLF, two dashes, boundary
	maxHeader int
	began     bool
	inPart    bool
	closed    bool  // the close delimiter was read
	err       error // final
}

// newMultipartReader reads body through buf, which must hold bufferSize bytes.
func newMultipartReader(body io.Reader, buf []byte, boundary string, maxHeader int) (*multipartReader, error) {
	if !validBoundary(boundary) {
		return nil, fmt.Errorf("%w: the boundary must be 1 to %d visible characters", storage.ErrInvalid, maxBoundary)
	}
	// With a line end in front, the first delimiter is like the others.
	m := &multipartReader{src: body, buf: buf, delimiter: []byte("\r\n--" + boundary), maxHeader: maxHeader, inPart: true}
	m.w = copy(m.buf, "\r\n")
	return m, nil
}

// validBoundary is more lenient than RFC 2046 §5.1.1: any visible character
// and inner spaces.
func validBoundary(b string) bool {
	if b == "" || len(b) > maxBoundary || strings.HasSuffix(b, " ") {
		return false
	}
	for i := range len(b) {
		if b[i] < ' ' || b[i] > '~' {
			return false
		}
	}
	return true
}

// Next skips what is left of the current part and returns the header of the
// next one, or io.EOF after the last.
func (m *multipartReader) Next() (textproto.MIMEHeader, error) {
	if err := m.skip(); err != nil {
		return nil, err
	}
	if m.closed {
		return nil, io.EOF
	}
	header, err := m.header()
	if err != nil {
		return nil, err
	}
	m.inPart = true
	return header, nil
}

// skip reads to the end of the current part.
func (m *multipartReader) skip() error {
	preamble := 0
	for m.inPart {
		n, err := m.body()
		m.r += n
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if preamble += n; !m.began && preamble > maxPreamble {
			return m.malformed("no delimiter at the beginning")
		}
	}
	m.began = true
	return nil
}

// Read implements io.Reader for the body of the current part.
func (m *multipartReader) Read(p []byte) (int, error) {
	if !m.inPart || !m.began {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	if m.r == m.w {
		if n, err := m.past(p); n > 0 || err != nil {
			return n, err
		}
	}
	n, err := m.body()
	n = copy(p, m.buf[m.r:m.r+n])
	m.r += n
	return n, err
}

// past reads bytes of the current part into p past the buffer, which is empty,
// so that they are not copied. What comes from the first delimiter on, and what
// may be the beginning of one, goes into the buffer; 0 when that is all.
func (m *multipartReader) past(p []byte) (int, error) {
	n, err := m.read(p[:min(len(p), len(m.buf))])
	if err != nil {
		return 0, err
	}
	end := bytes.Index(p[:n], m.delimiter)
	if end < 0 {
		end = n - m.begun(p[:n])
	}
	m.r, m.w = 0, copy(m.buf, p[end:n])
	return end, nil
}

// begun is how many bytes at the end of b may be the beginning of a delimiter.
func (m *multipartReader) begun(b []byte) int {
	tail := b[max(0, len(b)-len(m.delimiter)+1):]
	for !bytes.HasPrefix(m.delimiter, tail) {
		tail = tail[1:]
	}
	return len(tail)
}

// Err is the error that ended the body, nil while it goes on and after the
// close delimiter.
func (m *multipartReader) Err() error { return m.err }

// Peek returns up to n bytes of the current part without reading them, fewer
// at its end and after an error.
func (m *multipartReader) Peek(n int) []byte {
	for m.inPart {
		have := m.buf[m.r:m.w]
		if i := bytes.Index(have[:min(len(have), n+len(m.delimiter))], m.delimiter); i >= 0 {
			return have[:min(i, n)]
		}
		if len(have) >= n+len(m.delimiter) || m.err != nil || m.fill() != nil {
			break
		}
	}
	return m.buf[m.r : m.r+max(0, min(n, m.w-m.r-len(m.delimiter)))]
}

// body makes at least one byte of the current part available at buf[r:] and
// returns how many, or io.EOF when the part ends there.
func (m *multipartReader) body() (int, error) {
	from := 0 // no delimiter begins before it
	for {
		have := m.buf[m.r:m.w]
		i := bytes.Index(have[from:], m.delimiter)
		if i < 0 {
			if safe := len(have) - m.begun(have); safe > 0 {
				return safe, nil
			}
		} else {
			i += from
			end, found := m.ends(have[i+len(m.delimiter):])
			switch {
			case found && i > 0, !found && end < 0 && i > 0:
				return i, nil // first what stands before it
			case found:
				m.r += len(m.delimiter)
				m.closed = m.buf[m.r] == '-'
				m.r += end
				m.inPart = false
				return 0, io.EOF
			case end >= 0:
				from = i + 1 // only looks like a delimiter
				continue
			}
		}
		if err := m.fill(); err != nil {
			return 0, err
		}
	}
}

// ends looks at what follows a delimiter: the close delimiter's dashes, or
// white space and a line end, of which it returns the length and true. Other
// bytes mean that it is no delimiter: 0 and false. -1 means that more bytes
// are needed to tell.
func (m *multipartReader) ends(after []byte) (int, bool) {
	if bytes.HasPrefix(after, []byte("--")) {
		return 2, true
	}
	for i, c := range after {
		switch {
		case c == '\r' && i+1 == len(after), c == '-' && i == 0 && len(after) == 1:
			return -1, false
		case c == '\r' && after[i+1] == '\n':
			return i + 2, true
		case c != ' ' && c != '\t' || i > m.maxHeader:
			return 0, false
		}
	}
	return -1, false
}

// header reads the header of a part up to and with its empty line.
func (m *multipartReader) header() (textproto.MIMEHeader, error) {
	for {
		have := m.buf[m.r:m.w]
		length := -1
		if bytes.HasPrefix(have, []byte("\r\n")) {
			length = 2
		} else if i := bytes.Index(have, []byte("\r\n\r\n")); i >= 0 {
			length = i + 4
		}
		switch {
		case length > m.maxHeader, length < 0 && len(have) > m.maxHeader:
			return nil, m.malformed(fmt.Sprintf("the header of a part is longer than %d bytes", m.maxHeader))
		case length >= 0:
			return m.parseHeader(have[:length])
		}
		if err := m.fill(); err != nil {
			return nil, err
		}
	}
}

func (m *multipartReader) parseHeader(raw []byte) (textproto.MIMEHeader, error) {
	header, err := textproto.NewReader(bufio.NewReaderSize(bytes.NewReader(raw), len(raw))).ReadMIMEHeader()
	if err != nil {
		return nil, m.malformed("a part has a malformed header")
	}
	m.r += len(raw)
	return header, m.empty()
}

// empty gives the line end of the empty line behind a header to the delimiter
// that follows, when the part has no body at all.
func (m *multipartReader) empty() error {
	if err := m.need(len(m.delimiter)); err != nil {
		return err
	}
	for {
		after, ok := bytes.CutPrefix(m.buf[m.r:m.w], m.delimiter[2:])
		if !ok {
			return nil
		}
		switch end, found := m.ends(after); {
		case found:
			m.r -= 2
			return nil
		case end >= 0:
			return nil // the body only begins like a delimiter
		}
		if err := m.fill(); err != nil {
			return err
		}
	}
}

// need makes n bytes available.
func (m *multipartReader) need(n int) error {
	for m.w-m.r < n {
		if err := m.fill(); err != nil {
			return err
		}
	}
	return nil
}

// fill reads more into the buffer. The two bytes before r stay in place, for
// parseHeader to go back to.
func (m *multipartReader) fill() error {
	if m.w == len(m.buf) || m.w-m.r <= maxBoundary+4 {
		keep := max(0, m.r-2)
		m.w = copy(m.buf, m.buf[keep:m.w])
		m.r -= keep
	}
	n, err := m.read(m.buf[m.w:])
	m.w += n
	return err
}

// read is what is next of the body.
func (m *multipartReader) read(p []byte) (int, error) {
	if m.err != nil {
		return 0, m.err
	}
	n, err := m.src.Read(p)
	switch {
	case n > 0 || err == nil:
		return n, nil // an error comes again
	case errors.Is(err, io.EOF):
		return 0, m.malformed("the body ends before the close delimiter")
	}
	m.err = err
	return 0, err
}

func (m *multipartReader) malformed(what string) error {
	m.err = fmt.Errorf("%w: multipart: %s", storage.ErrInvalid, what)
	return m.err
}
