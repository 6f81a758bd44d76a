package pdu

import (
	"encoding/binary"
	"errors"
	"io"
)

// pdvHeaderLength is a PDV's length field, context id and message control
// header (PS3.8 §9.3.5.1, §E.2).
const pdvHeaderLength = 6

const (
	controlCommand = 0x01
	controlLast    = 0x02
)

// PDV is the head of a Presentation Data Value: a fragment of a message.
type PDV struct {
	ContextID byte
	Command   bool // part of a command set, not of a data set
	Last      bool // the last fragment of its command set or data set
	Length    int  // of the fragment
}

// Reader takes PDUs from a connection through one buffer of fixed size. The
// fragments of P-DATA-TF pass through it without being collected. It is not
// safe for use by many goroutines.
//
// Use: Next, then either Body, or NextPDV and Read or WriteTo until io.EOF.
// What is left unread of a PDU is skipped by the next Next.
type Reader struct {
	src  io.Reader
	buf  []byte
	r, w int    // buf[r:w] was received and not yet used
	pdu  uint32 // what is left of the PDU, not counting pdv
	pdv  uint32 // what is left of the fragment
}

// leastBuffer holds any header.
const leastBuffer = 64

// NewReader returns a Reader with a buffer of size bytes.
func NewReader(src io.Reader, size int) *Reader {
	return &Reader{src: src, buf: make([]byte, max(size, leastBuffer))}
}

// Grow makes the buffer at least size bytes long.
func (r *Reader) Grow(size int) {
	if size <= len(r.buf) {
		return
	}
	buf := make([]byte, size)
	r.w = copy(buf, r.buf[r.r:r.w])
	r.r, r.buf = 0, buf
}

// Idle tells whether nothing of a next PDU has been received.
func (r *Reader) Idle() bool { return r.r == r.w && r.pdu == 0 && r.pdv == 0 }

// Next takes the head of the next PDU. The end of the connection between two
// PDUs is io.EOF; inside one it is io.ErrUnexpectedEOF.
func (r *Reader) Next() (Header, error) {
	if err := r.Skip(); err != nil {
		return Header{}, err
	}
	b, err := r.peek(HeaderLength)
	if err != nil {
		return Header{}, err
	}
	h := ParseHeader([HeaderLength]byte(b))
	r.r += HeaderLength
	r.pdu = h.Length
	return h, nil
}

// Body takes the whole of a PDU that is not P-DATA-TF. One that says it is
// longer than limit is an *Error; memory grows with what has arrived and not
// with what was announced. The bytes are the caller's.
func (r *Reader) Body(limit int) ([]byte, error) {
	if uint64(r.pdu) > uint64(limit) {
		return nil, invalid("a PDU of %d bytes, the limit is %d", r.pdu, limit)
	}
	var body []byte
	for r.pdu > 0 {
		if err := r.fill(); err != nil {
			return nil, unexpected(err)
		}
		n := min(r.w-r.r, int(r.pdu))
		body = append(body, r.buf[r.r:r.r+n]...)
		r.r += n
		r.pdu -= uint32(n)
	}
	return body, nil
}

// NextPDV takes the head of the next fragment in the P-DATA-TF; after the
// last it returns io.EOF. A fragment that does not fit into its PDU is an
// *Error. What is left of the fragment before is skipped.
func (r *Reader) NextPDV() (PDV, error) {
	if err := r.skip(&r.pdv); err != nil {
		return PDV{}, err
	}
	if r.pdu == 0 {
		return PDV{}, io.EOF
	}
	if r.pdu < pdvHeaderLength {
		return PDV{}, invalid("%d bytes are left in a P-DATA-TF, too few for a PDV", r.pdu)
	}
	b, err := r.peek(pdvHeaderLength)
	if err != nil {
		return PDV{}, unexpected(err)
	}
	length := binary.BigEndian.Uint32(b)
	if length < 2 || length > r.pdu-4 {
		return PDV{}, invalid("a PDV of length %d in %d bytes of P-DATA-TF", length, r.pdu-4)
	}
	v := PDV{
		ContextID: b[4],
		Command:   b[5]&controlCommand != 0,
		Last:      b[5]&controlLast != 0,
		Length:    int(length - 2),
	}
	r.r += pdvHeaderLength
	r.pdv = length - 2
	r.pdu -= 4 + length
	return v, nil
}

// Read reads from the fragment and returns io.EOF at its end. Large reads
// pass by the buffer.
func (r *Reader) Read(p []byte) (int, error) {
	if r.pdv == 0 {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	p = p[:min(len(p), int(r.pdv))]
	if r.r == r.w && len(p) >= len(r.buf)/2 {
		n, err := r.src.Read(p)
		r.pdv -= uint32(n)
		if n > 0 {
			err = nil // it will come again
		}
		return n, unexpected(err)
	}
	if err := r.fill(); err != nil {
		return 0, unexpected(err)
	}
	n := copy(p, r.buf[r.r:r.w])
	r.r += n
	r.pdv -= uint32(n)
	return n, nil
}

// WriteTo writes what is left of the fragment to w, straight from the buffer.
func (r *Reader) WriteTo(w io.Writer) (int64, error) {
	var written int64
	for r.pdv > 0 {
		if err := r.fill(); err != nil {
			return written, unexpected(err)
		}
		n, err := w.Write(r.buf[r.r : r.r+min(r.w-r.r, int(r.pdv))])
		r.r += n
		r.pdv -= uint32(n)
		written += int64(n)
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// Skip passes over what is left of the PDU.
func (r *Reader) Skip() error {
	if err := r.skip(&r.pdv); err != nil {
		return err
	}
	return r.skip(&r.pdu)
}

func (r *Reader) skip(left *uint32) error {
	for *left > 0 {
		if err := r.fill(); err != nil {
			return unexpected(err)
		}
		n := min(r.w-r.r, int(*left))
		r.r += n
		*left -= uint32(n)
	}
	return nil
}

// fill reads once when the buffer is empty.
func (r *Reader) fill() error {
	if r.r < r.w {
		return nil
	}
	r.r, r.w = 0, 0
	return r.read()
}

// peek makes the next n bytes, a small number, lie in the buffer.
func (r *Reader) peek(n int) ([]byte, error) {
	if r.w-r.r < n { // a few bytes at most
		r.w = copy(r.buf, r.buf[r.r:r.w])
		r.r = 0
	}
	for r.w-r.r < n {
		if err := r.read(); err != nil {
			if r.w > r.r {
				err = unexpected(err)
			}
			return nil, err
		}
	}
	return r.buf[r.r : r.r+n], nil
}

func (r *Reader) read() error {
	n, err := r.src.Read(r.buf[r.w:])
	r.w += n
	if n > 0 {
		return nil // an error will come again
	}
	if err == nil {
		return io.ErrNoProgress
	}
	return err
}

// unexpected makes an end of the connection inside a PDU an error.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// AppendPDV appends the head of a P-DATA-TF that has this one fragment, whose
// v.Length bytes the caller appends.
func AppendPDV(b []byte, v PDV) []byte {
	b = AppendHeader(b, Header{TypeDataTF, uint32(v.Length + pdvHeaderLength)})
	b = binary.BigEndian.AppendUint32(b, uint32(v.Length+2))
	var control byte
	if v.Command {
		control |= controlCommand
	}
	if v.Last {
		control |= controlLast
	}
	return append(b, v.ContextID, control)
}

// DataOverhead is what AppendPDV appends.
const DataOverhead = HeaderLength + pdvHeaderLength
