package pack

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math"

	"github.com/esante-alsace/cigogne/storage"
)

// place tells where the details of an instance lie in the metadata entry.
type place struct {
	// Restart is the offset in the deflated bytes at which inflating may
	// begin to reach the details.
	Restart int64 `json:"restart"`
	// Layout and Attributes are the lengths of the two values, in bytes.
	Layout     int64 `json:"layout"`
	Attributes int64 `json:"attributes"`
	// CRC32 (IEEE) is of the whole line of the metadata entry.
	CRC32 uint32 `json:"crc32"`

	skip int64 // how many inflated bytes lie between Restart and the details
}

// indexLine is the form of an entry's line in the index.
type indexLine struct {
	SOPInstanceUID    string         `json:"sopInstanceUID"`
	SOPClassUID       string         `json:"sopClassUID"`
	TransferSyntaxUID string         `json:"transferSyntaxUID"`
	Digest            storage.Digest `json:"digest"`
	Size              int64          `json:"size"`
	Prefix            int64          `json:"prefix"`
	CRC32             uint32         `json:"crc32"`
	Received          int64          `json:"received"`
	Origin            storage.Origin `json:"origin"`
	Offset            int64          `json:"offset"`
	// Compressed is missing for an instance that is stored as it came.
	Compressed *compressedLine `json:"compressed,omitempty"`
	Metadata   place           `json:"metadata"`
}

// compressedLine is the form of blocks in the index.
type compressedLine struct {
	Method Compression `json:"method"`
	// Length is that of all compressed bytes.
	Length int64 `json:"length"`
	// First and Block are the lengths of the first and of the other blocks,
	// before they were compressed.
	First int64 `json:"first"`
	Block int64 `json:"block"`
	// Blocks has, for each block, its compressed length as a uvarint, and the
	// CRC-32 of what it holds in 4 bytes, little endian.
	Blocks []byte `json:"blocks"`
}

func (b *blocks) line() *compressedLine {
	if b == nil {
		return nil
	}
	return &compressedLine{setting(b.method), b.length, b.first, b.block, b.table}
}

// blocks is the inverse of line. A method that is not known is 0.
func (l *compressedLine) blocks() *blocks {
	if l == nil {
		return nil
	}
	method, err := l.Method.method()
	if err != nil {
		method = stored
	}
	return &blocks{cuts: cuts{l.First, l.Block}, method: method, length: l.Length, table: l.Blocks}
}

// appendLine appends an entry's line without its newline.
func appendLine(b []byte, e *Entry) ([]byte, error) {
	line, err := json.Marshal(indexLine{
		SOPInstanceUID: e.Key.SOPInstanceUID, SOPClassUID: e.SOPClassUID, TransferSyntaxUID: e.TransferSyntaxUID,
		Digest: e.Digest, Size: e.Size, Prefix: e.Prefix, CRC32: e.CRC32, Received: e.Received, Origin: e.Origin,
		Offset: e.Offset, Compressed: e.blocks.line(), Metadata: e.metadata,
	})
	return append(b, line...), err
}

// lineReader reads index lines. Values that repeat from line to line are kept
// once.
type lineReader struct {
	header Header
	known  map[string]string
	// The last origin in JSON and in Go.
	originJSON []byte
	origin     storage.Origin
}

// maxKnown bounds the values that are kept once.
const maxKnown = 1024

func (r *lineReader) intern(b []byte) string {
	if s, ok := r.known[string(b)]; ok {
		return s
	}
	s := string(b)
	if len(r.known) < maxKnown {
		r.known[s] = s
	}
	return s
}

// read reads a line. Lines as appendLine writes them are read ten times as
// fast as encoding/json does; it reads all others.
func (r *lineReader) read(line []byte, e *Entry) error {
	if !r.fast(line, e) {
		var l indexLine
		if err := json.Unmarshal(line, &l); err != nil {
			return err
		}
		r.fill(e, &l)
	}
	e.Key.StudyInstanceUID, e.Key.SeriesInstanceUID = r.header.StudyInstanceUID, r.header.SeriesInstanceUID
	return nil
}

func (r *lineReader) fill(e *Entry, l *indexLine) {
	o := l.Origin
	*e = Entry{Instance: storage.Instance{
		SOPClassUID: r.intern([]byte(l.SOPClassUID)), TransferSyntaxUID: r.intern([]byte(l.TransferSyntaxUID)),
		Digest: l.Digest, Size: l.Size, Prefix: l.Prefix, CRC32: l.CRC32, Received: l.Received,
		Origin: storage.Origin{
			Transport: r.intern([]byte(o.Transport)), CallingAETitle: r.intern([]byte(o.CallingAETitle)),
			CalledAETitle: r.intern([]byte(o.CalledAETitle)), RemoteAddr: r.intern([]byte(o.RemoteAddr)), ID: r.intern([]byte(o.ID)),
			Sender: o.Sender,
		},
	}, Offset: l.Offset, blocks: l.Compressed.blocks(), metadata: l.Metadata}
	e.Key.SOPInstanceUID = l.SOPInstanceUID
}

// fast reads a line in the very form of appendLine; false means that it is
// not in that form, and says nothing about its worth.
func (r *lineReader) fast(line []byte, e *Entry) bool {
	c := cursor{rest: line, ok: true}
	sop := c.text(`{"sopInstanceUID":"`)
	class := c.text(`,"sopClassUID":"`)
	syntax := c.text(`,"transferSyntaxUID":"`)
	digest := c.text(`,"digest":"`)
	*e = Entry{}
	e.Size = c.number(`,"size":`)
	e.Prefix = c.number(`,"prefix":`)
	e.CRC32 = c.number32(`,"crc32":`)
	e.Received = c.number(`,"received":`)
	origin := c.until(`,"origin":`, `,"offset":`)
	e.Offset = c.number("")
	e.blocks = c.blocks()
	e.metadata.Restart = c.number(`,"metadata":{"restart":`)
	e.metadata.Layout = c.number(`,"layout":`)
	e.metadata.Attributes = c.number(`,"attributes":`)
	e.metadata.CRC32 = c.number32(`,"crc32":`)
	c.literal("}}")
	if !c.ok || len(c.rest) != 0 || e.Digest.UnmarshalText(digest) != nil || !r.readOrigin(origin, e) {
		return false
	}
	e.Key.SOPInstanceUID = string(sop)
	e.SOPClassUID, e.TransferSyntaxUID = r.intern(class), r.intern(syntax)
	return true
}

// readOrigin reads the origin, which is most often that of the line before.
func (r *lineReader) readOrigin(origin []byte, e *Entry) bool {
	if r.originJSON == nil || !bytes.Equal(origin, r.originJSON) {
		var o storage.Origin
		if json.Unmarshal(origin, &o) != nil {
			return false
		}
		var other Entry
		r.fill(&other, &indexLine{Origin: o})
		r.originJSON, r.origin = append(r.originJSON[:0], origin...), other.Origin
	}
	e.Origin = r.origin
	return true
}

// cursor cuts a line into its values. After the first that is not as it was
// expected, ok is false and values mean nothing.
type cursor struct {
	rest []byte
	ok   bool
}

func (c *cursor) literal(l string) {
	if !c.ok || len(c.rest) < len(l) || string(c.rest[:len(l)]) != l {
		c.ok = false
		return
	}
	c.rest = c.rest[len(l):]
}

// text reads a literal that ends in a quote and a string of plain characters.
func (c *cursor) text(before string) []byte {
	c.literal(before)
	if !c.ok {
		return nil
	}
	for i, b := range c.rest {
		if b == '"' {
			value := c.rest[:i]
			c.rest = c.rest[i+1:]
			return value
		}
		if b < ' ' || b >= 0x7f || b == '\\' {
			break
		}
	}
	c.ok = false
	return nil
}

// until reads a literal and all up to and including another.
func (c *cursor) until(before, after string) []byte {
	c.literal(before)
	value, rest, found := bytes.Cut(c.rest, []byte(after))
	c.ok, c.rest = c.ok && found, rest
	return value
}

// number reads a literal and a whole number that is not negative, as
// encoding/json writes it.
func (c *cursor) number(before string) int64 {
	c.literal(before)
	n, i := int64(0), 0
	for ; i < len(c.rest) && c.rest[i] >= '0' && c.rest[i] <= '9'; i++ {
		digit := int64(c.rest[i] - '0')
		if n > (math.MaxInt64-digit)/10 || i == 1 && n == 0 {
			c.ok = false
			return 0
		}
		n = n*10 + digit
	}
	c.ok = c.ok && i > 0
	c.rest = c.rest[i:]
	return n
}

// blocks reads what may follow the offset; nil when it does not.
func (c *cursor) blocks() *blocks {
	const begin = `,"compressed":{"method":"`
	if !c.ok || !bytes.HasPrefix(c.rest, []byte(begin)) {
		return nil
	}
	l := compressedLine{Method: Compression(c.text(begin))}
	l.Length = c.number(`,"length":`)
	l.First = c.number(`,"first":`)
	l.Block = c.number(`,"block":`)
	table := c.text(`,"blocks":"`)
	c.literal("}")
	l.Blocks = make([]byte, base64.StdEncoding.DecodedLen(len(table)))
	n, err := base64.StdEncoding.Decode(l.Blocks, table)
	l.Blocks = l.Blocks[:n]
	c.ok = c.ok && err == nil
	return l.blocks()
}

func (c *cursor) number32(before string) uint32 {
	n := c.number(before)
	c.ok = c.ok && n <= math.MaxUint32
	return uint32(n)
}
