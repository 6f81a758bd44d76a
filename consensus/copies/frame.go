// Package copies keeps what lies in one node's journal on other nodes, too.
//
// A [Keeper] sends this node's journal to as many others as it must and knows
// what they have; a [Holder] takes the journals of others; a [Reader] reads an
// instance wherever its journal lies. The bytes are the journal's own: see
// storage/journal.
package copies

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/journal"
)

// A frame is length of the payload (4), kind (1), payload, CRC-32C of kind and
// payload (4); numbers are little-endian. DESIGN.md has the conversation.
const (
	frameHead = 5
	frameTail = 4
	// payloadMost bounds a payload: a journal.Piece and where it belongs.
	payloadMost = 256<<10 + 64
)

type kind uint8

const (
	// Of the node whose journal it is.
	kindHello      kind = iota + 1 // who, and whether live
	kindBytes                      // of a segment: number, offset, bytes
	kindLarge                      // a large file follows: id, size, and whether the holder is to tell of it
	kindLargeBytes                 // of it
	kindEnd                        // of a segment: number, offset
	kindPing                       // the node is there
	// Of the node that holds the copy.
	kindExtents // what it has of the journal: any number, and whether more follow
	kindAck     // a segment is durable up to an offset
	kindPong    // the node is there, and has received that many bytes: offset
	kindRefused // why it takes nothing more
	kindKept    // a large file is durable: id, size
)

// frame is one message. What it does not need is zero.
type frame struct {
	kind    kind
	segment uint64 // or the large file's id
	offset  int64  // or the large file's size
	bytes   []byte // good until the next frame is read
	hello   hello
	extents []journal.Extent
	more    bool
	reason  refusal
}

// hello begins a conversation.
type hello struct {
	journal [16]byte
	// session is the same for the live connection and those beside it that
	// fill in; a live one with another ends them all.
	session uint64
	live    bool
}

func (h hello) id() string { return hex.EncodeToString(h.journal[:]) }

// refusal says why a holder takes nothing more.
type refusal uint8

const (
	refusedRetired refusal = iota + 1 // the journal is retired
	refusedFull                       // no space
	refusedCorrupt                    // what came was not sound
	refusedFailed                     // the disk, or anything else
)

// extentBytes is what an extent takes in a frame, extentsMost how many one has.
const (
	extentBytes = 17
	extentsMost = 4096
)

// append encodes the frame.
func (f *frame) append(b []byte) []byte {
	at := len(b)
	b = append(b, 0, 0, 0, 0, byte(f.kind))
	le := binary.LittleEndian
	switch f.kind {
	case kindHello:
		b = append(b, f.hello.journal[:]...)
		b = le.AppendUint64(b, f.hello.session)
		b = append(b, boolByte(f.hello.live))
	case kindBytes:
		b = le.AppendUint64(b, f.segment)
		b = le.AppendUint64(b, uint64(f.offset))
		b = append(b, f.bytes...)
	case kindLargeBytes:
		b = append(b, f.bytes...)
	case kindLarge, kindEnd, kindAck, kindPong, kindKept:
		b = le.AppendUint64(b, f.segment)
		b = le.AppendUint64(b, uint64(f.offset))
		b = append(b, boolByte(f.more))
	case kindExtents:
		b = append(b, boolByte(f.more))
		for _, e := range f.extents {
			b = le.AppendUint64(b, e.Segment)
			b = le.AppendUint64(b, uint64(e.End))
			b = append(b, boolByte(e.Whole))
		}
	case kindRefused:
		b = append(b, byte(f.reason))
	case kindPing:
	}
	le.PutUint32(b[at:], uint32(len(b)-at-frameHead))
	return le.AppendUint32(b, crc32.Checksum(b[at+4:], castagnoli()))
}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) } // made once, inside

func boolByte(v bool) byte {
	if v {
		return 1
	}
	return 0
}

// frameReader reads frames from a connection.
type frameReader struct {
	r   *bufio.Reader
	buf []byte
}

func newFrameReader(r io.Reader) *frameReader {
	return &frameReader{r: bufio.NewReaderSize(r, 64<<10)}
}

// next reads one frame. Errors are the connection's, or wrap storage.ErrCorrupt
// for what is no frame.
func (fr *frameReader) next() (frame, error) {
	var head [frameHead]byte
	if _, err := io.ReadFull(fr.r, head[:]); err != nil {
		return frame{}, err
	}
	n := int64(binary.LittleEndian.Uint32(head[:]))
	if n > payloadMost {
		return frame{}, fmt.Errorf("%w: a frame of %d bytes", storage.ErrCorrupt, n)
	}
	if int64(cap(fr.buf)) < n+frameTail {
		fr.buf = make([]byte, max(n+frameTail, 4<<10))
	}
	b := fr.buf[:n+frameTail]
	if _, err := io.ReadFull(fr.r, b); err != nil {
		return frame{}, unexpected(err)
	}
	sum := crc32.Update(crc32.Checksum(head[4:], castagnoli()), castagnoli(), b[:n])
	if sum != binary.LittleEndian.Uint32(b[n:]) {
		return frame{}, fmt.Errorf("%w: a frame does not match its checksum", storage.ErrCorrupt)
	}
	return parseFrame(kind(head[4]), b[:n])
}

// unexpected is the error of a frame that was cut.
func unexpected(err error) error {
	if err == io.EOF { //nolint:errorlint // an error that wraps it is no end
		return io.ErrUnexpectedEOF
	}
	return err
}

// size is the least length of a payload, and whether it is the only one; ok is
// false for a kind that is not known.
func (k kind) size() (least int, only, ok bool) {
	switch k {
	case kindHello:
		return 25, true, true
	case kindBytes:
		return 16, false, true
	case kindLargeBytes:
		return 0, false, true
	case kindLarge, kindEnd, kindAck, kindPong, kindKept:
		return 17, true, true
	case kindExtents:
		return 1, false, true
	case kindRefused:
		return 1, true, true
	case kindPing:
		return 0, true, true
	}
	return 0, false, false
}

// parseFrame reads a payload.
func parseFrame(k kind, b []byte) (frame, error) {
	f := frame{kind: k}
	least, only, ok := k.size()
	if !ok {
		return f, fmt.Errorf("%w: a frame of kind %d", storage.ErrUnsupported, k)
	}
	if len(b) < least || only && len(b) != least {
		return f, fmt.Errorf("%w: a frame of kind %d with %d bytes", storage.ErrCorrupt, k, len(b))
	}
	le := binary.LittleEndian
	switch k {
	case kindHello:
		copy(f.hello.journal[:], b)
		f.hello.session, f.hello.live = le.Uint64(b[16:]), b[24] != 0
	case kindBytes:
		f.segment, f.offset, f.bytes = le.Uint64(b), int64(le.Uint64(b[8:])), b[16:]
	case kindLargeBytes:
		f.bytes = b
	case kindLarge, kindEnd, kindAck, kindPong, kindKept:
		f.segment, f.offset, f.more = le.Uint64(b), int64(le.Uint64(b[8:])), b[16] != 0
	case kindExtents:
		f.more = b[0] != 0
		return f, f.parseExtents(b[1:])
	case kindRefused:
		f.reason = refusal(b[0])
	case kindPing:
	}
	if f.offset < 0 {
		return f, fmt.Errorf("%w: a frame with offset %d", storage.ErrCorrupt, f.offset)
	}
	return f, nil
}

func (f *frame) parseExtents(b []byte) error {
	if len(b)%extentBytes != 0 || len(b)/extentBytes > extentsMost {
		return fmt.Errorf("%w: a list of extents of %d bytes", storage.ErrCorrupt, len(b))
	}
	for ; len(b) > 0; b = b[extentBytes:] {
		e := journal.Extent{
			Segment: binary.LittleEndian.Uint64(b),
			End:     int64(binary.LittleEndian.Uint64(b[8:])),
			Whole:   b[16] != 0,
		}
		if e.End < 0 {
			return fmt.Errorf("%w: an extent that ends at %d", storage.ErrCorrupt, e.End)
		}
		f.extents = append(f.extents, e)
	}
	return nil
}
