package dimse

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/esante-alsace/cigogne/gateway/dimse/pdu"
	"github.com/esante-alsace/cigogne/gateway/dimse/ul"
	"github.com/esante-alsace/cigogne/storage"
)

// message is a DIMSE message: a command set and perhaps a data set, which is
// still on its way.
type message struct {
	contextID byte
	command   command
	body      *body // nil when there is none
	began     time.Time
}

// inbox takes messages from a link.
type inbox struct {
	link       *link
	maxCommand int
	maxDataSet int64
	inData     bool // inside a P-DATA-TF
	partial    bool // inside a command set
	buffer     []byte
}

// pdv takes the head of the next fragment, from this P-DATA-TF or the next.
// When the peer sent something other than data, the indication tells what.
func (in *inbox) pdv() (pdu.PDV, *indication, error) {
	for {
		if in.inData {
			v, err := in.link.in.NextPDV()
			if err == nil {
				return v, nil, nil
			}
			if !errors.Is(err, io.EOF) {
				return v, nil, in.link.failed(err)
			}
			in.inData = false
		}
		ind, err := in.link.next()
		if err != nil {
			return pdu.PDV{}, nil, err
		}
		if ind.action != ul.DT2 && ind.action != ul.AR6 {
			return pdu.PDV{}, &ind, nil
		}
		in.inData = true
	}
}

// next takes the next command set. Its body must have been read to the end
// before it is called again. Between messages an indication may come instead.
func (in *inbox) next() (*message, *indication, error) {
	in.buffer = in.buffer[:0]
	m := &message{}
	for size := 0; ; {
		v, ind, err := in.pdv()
		switch {
		case err != nil:
			return nil, nil, err
		case ind != nil && m.began.IsZero():
			return nil, ind, nil
		case ind != nil:
			return nil, nil, misused("the peer released inside a command set")
		case !v.Command:
			return nil, nil, misused("a data set without a command set")
		case m.began.IsZero():
			m.contextID, m.began, in.partial = v.ContextID, time.Now(), true
		case v.ContextID != m.contextID:
			return nil, nil, misused("a command set in two presentation contexts")
		}
		// The head counts, or a command set of empty fragments would never end.
		if size += pdu.DataOverhead - pdu.HeaderLength + v.Length; size > in.maxCommand {
			return nil, nil, misused("a command set of more than %d bytes", in.maxCommand)
		}
		start := len(in.buffer)
		in.buffer = append(in.buffer, make([]byte, v.Length)...)
		if _, err := io.ReadFull(in.link.in, in.buffer[start:]); err != nil {
			return nil, nil, in.link.failed(err)
		}
		if v.Last {
			break
		}
	}
	in.partial = false
	c, err := decodeCommand(in.buffer)
	if err != nil {
		return nil, nil, err
	}
	m.command = c
	if c.DataSetType != noDataSet {
		m.body = &body{in: in, contextID: m.contextID}
	}
	return m, nil, nil
}

// body is a data set that arrives. It ends with io.EOF; any other error means
// that it was not received whole. It belongs to the association's goroutine.
type body struct {
	in        *inbox
	contextID byte
	inPDV     bool // inside a fragment
	last      bool // the fragment is the last
	ended     bool
	n         int64
	err       error // why it, and with it the association, failed
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	for {
		if err := b.advance(); err != nil {
			return 0, err
		}
		n, err := b.in.link.in.Read(p)
		b.n += int64(n)
		switch {
		case err == nil:
			return n, b.check()
		case !errors.Is(err, io.EOF):
			return n, b.fail(b.in.link.failed(err))
		}
		b.inPDV = false
	}
}

// WriteTo implements io.WriterTo: the fragments are written to w from the
// association's buffer, which w must not keep.
func (b *body) WriteTo(w io.Writer) (int64, error) {
	start := b.n
	out := &limited{w: w, body: b}
	for {
		err := b.advance()
		if errors.Is(err, io.EOF) {
			return b.n - start, nil
		}
		if err != nil {
			return b.n - start, err
		}
		if _, err := b.in.link.in.WriteTo(out); err != nil {
			if out.err != nil {
				return b.n - start, out.err // the writer's own, or too large
			}
			return b.n - start, b.fail(b.in.link.failed(err))
		}
		b.inPDV = false
	}
}

// limited writes to w until the body is too large, and remembers whose error
// it was.
type limited struct {
	w    io.Writer
	body *body
	err  error
}

func (l *limited) Write(p []byte) (int, error) {
	l.body.n += int64(len(p))
	if l.err = l.body.check(); l.err != nil {
		return 0, l.err
	}
	var n int
	if n, l.err = l.w.Write(p); l.err == nil && n < len(p) {
		l.err = io.ErrShortWrite
	}
	return n, l.err
}

// advance goes to a fragment that is not read yet, or returns io.EOF.
func (b *body) advance() error {
	if b.err == nil {
		if err := b.check(); err != nil {
			return err
		}
	}
	for !b.inPDV {
		switch {
		case b.err != nil:
			return b.err
		case b.last:
			b.ended = true
			return io.EOF
		}
		v, ind, err := b.in.pdv()
		switch {
		case err != nil:
			return b.fail(err)
		case ind != nil:
			return b.fail(misused("the peer released inside a data set"))
		case v.Command:
			return b.fail(misused("a command set inside a data set"))
		case v.ContextID != b.contextID:
			return b.fail(misused("a data set in two presentation contexts"))
		}
		b.inPDV, b.last = true, v.Last
	}
	return b.err
}

func (b *body) check() error {
	if limit := b.in.maxDataSet; limit > 0 && b.n > limit {
		return fmt.Errorf("%w: a data set of more than %d bytes", storage.ErrTooLarge, limit)
	}
	return nil
}

func (b *body) fail(err error) error {
	b.err, b.inPDV = err, false
	return err
}

// drain passes over what is left of a data set that nobody wants. It gives up
// after the given time, and after as many bytes again as a data set may have.
func (b *body) drain(within time.Duration) error {
	if b == nil || b.ended || b.err != nil {
		if b != nil {
			return b.err
		}
		return nil
	}
	limit, deadline := b.in.maxDataSet, time.Now().Add(within)
	b.in.maxDataSet = 0
	defer func() { b.in.maxDataSet = limit }()
	start := b.n
	_, err := b.WriteTo(writerFunc(func(p []byte) (int, error) {
		switch {
		case limit > 0 && b.n-start > limit:
			return 0, misused("a data set of more than %d bytes", b.n)
		case time.Now().After(deadline):
			return 0, misused("the rest of a refused data set took longer than %v", within)
		}
		return len(p), nil
	}))
	return err
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// betweenMessages tells whether nothing of a message has arrived.
func (in *inbox) betweenMessages() bool { return !in.inData && !in.partial && in.link.in.Idle() }
