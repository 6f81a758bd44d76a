package dicom

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/esante-alsace/cigogne/storage"
)

// undefined is the length FFFFFFFF of PS3.5 §7.1.
const undefined = -1

// header is one Data Element up to its value.
type header struct {
	tag       Tag
	vr        VR
	length    int64 // of the value field in bytes, or undefined
	offset    int64 // of the value field in the Data Set
	bigEndian bool  // how the value's words are written
}

// visitor is told what a walker meets, in the order of the bytes.
type visitor interface {
	// element announces an element that is neither a sequence nor fragments.
	// It returns how many leading bytes of the value it wants; when that is
	// not negative, value follows.
	element(h *header) int
	// value hands over the bytes that element or fragment asked for; p is
	// only valid during the call.
	value(h *header, p []byte) error

	openSequence(h *header) error
	openItem() error
	closeItem() error
	closeSequence() error

	openFragments(h *header) error
	// fragment announces an item of encapsulated PixelData, the Basic Offset
	// Table first; it answers as element does.
	fragment(h *header) int
	// closeFragments tells where the Sequence Delimitation Item begins.
	closeFragments(end int64) error
}

type levelKind uint8

const (
	ofElements  levelKind = iota // a Data Set or an item
	ofItems                      // a sequence
	ofFragments                  // encapsulated PixelData
)

// level is a Data Set, a sequence, an item or encapsulated PixelData that has
// been opened and not yet closed.
type level struct {
	kind      levelKind
	implicit  bool
	bigEndian bool
	tag       Tag
	end       int64 // offset after it, or undefined
	limit     int64 // nothing in it may reach beyond
}

// walker goes through the structure of a Data Set that is pushed to it in
// chunks of any size. It keeps no bytes beyond those that its visitor wants.
// An error is final.
type walker struct {
	visit  visitor
	limits ScanLimits
	stack  []level
	depth  int   // of sequences
	off    int64 // of the next byte
	skip   int64 // bytes to go past
	err    error

	hold [12]byte // the beginning of a header that was cut by a chunk's end
	held int

	met    header // the element or item that was met last
	cur    header // the element whose value is wanted
	want   int    // bytes of it, when gathering
	gather bool
	val    []byte // those bytes so far

	elements  int
	fragments int
	signed    bool // PixelRepresentation is 1
}

func newWalker(ts TransferSyntax, limits ScanLimits, visit visitor) *walker {
	w := &walker{visit: visit, limits: limits, stack: make([]level, 1, 8)}
	w.stack[0] = level{
		implicit: ts.ImplicitVR, bigEndian: ts.BigEndian,
		end: undefined, limit: math.MaxInt64,
	}
	return w
}

// write walks through p.
func (w *walker) write(p []byte) error {
	for len(p) > 0 && w.err == nil {
		switch {
		case w.gather:
			p, w.err = w.gatherValue(p)
		case w.skip > 0:
			n := min(w.skip, int64(len(p)))
			w.skip -= n
			w.off += n
			p = p[n:]
		default:
			p, w.err = w.header(p)
		}
	}
	return w.err
}

// close ends the Data Set: it must be at the end of a top-level element.
func (w *walker) close() error {
	if w.err == nil {
		w.err = w.settle()
	}
	switch {
	case w.err != nil:
	case w.gather || w.skip > 0:
		missing := w.skip
		if w.gather {
			missing += int64(w.want - len(w.val))
		}
		w.err = w.fail(w.cur.tag, w.cur.offset, "the Data Set ends %d bytes before the value does", missing)
	case w.held > 0:
		w.err = w.fail(w.top().tag, w.off, "the Data Set ends inside the header of an element")
	case len(w.stack) > 1:
		w.err = w.fail(w.top().tag, w.off, "the Data Set ends before the sequence does")
	}
	return w.err
}

func (w *walker) top() *level { return &w.stack[len(w.stack)-1] }

func (w *walker) fail(tag Tag, offset int64, format string, args ...any) error {
	return fmt.Errorf("%w: element %s at offset %d: %s", storage.ErrInvalid, tag, offset, fmt.Sprintf(format, args...))
}

// gatherValue collects the bytes of a value that the visitor wants; when they
// lie in one chunk it does so without copying.
func (w *walker) gatherValue(p []byte) ([]byte, error) {
	missing := w.want - len(w.val)
	if len(p) < missing {
		w.val = append(w.val, p...)
		w.off += int64(len(p))
		return nil, nil
	}
	value := p[:missing]
	if len(w.val) > 0 {
		w.val = append(w.val, value...)
		value = w.val
	}
	w.off += int64(missing)
	w.gather = false
	err := w.deliver(value)
	w.val = w.val[:0]
	return p[missing:], err
}

func (w *walker) deliver(value []byte) error {
	if w.cur.tag == tagPixelRepresentation && len(w.stack) == 1 && len(value) >= 2 {
		w.signed = value[0]|value[1] == 1
	}
	return w.visit.value(&w.cur, value)
}

// header takes the header of the next element or item off p.
func (w *walker) header(p []byte) ([]byte, error) {
	if err := w.settle(); err != nil {
		return nil, err
	}
	b, before := p, w.held
	if before > 0 {
		n := copy(w.hold[before:], p)
		b = w.hold[:before+n]
	}
	size := w.headerSize(b)
	if len(b) < size {
		w.held = copy(w.hold[:], b)
		return nil, nil
	}
	w.held = 0
	h := &w.met
	*h = w.decode(b[:size])
	h.offset = w.off + int64(size)
	if h.offset > w.top().limit {
		return nil, w.fail(h.tag, w.off, "its header reaches beyond the item or sequence that holds it")
	}
	w.off = h.offset
	return p[size-before:], w.enter(h)
}

// headerSize is 12 for the long form of Explicit VR, else 8. Of fewer bytes
// than tell, it is 8.
func (w *walker) headerSize(b []byte) int {
	lv := w.top()
	if lv.implicit || lv.kind != ofElements || len(b) < 6 {
		return 8
	}
	if lv.bigEndian {
		if b[0] == 0xFF && b[1] == 0xFE {
			return 8
		}
	} else if b[0] == 0xFE && b[1] == 0xFF {
		return 8
	}
	vr := vrOf(b[4], b[5])
	// A VR that is yet to be defined will have the long form (PS3.5 §6.2).
	if vr.longForm() || vr == "" && upper(b[4]) && upper(b[5]) {
		return 12
	}
	return 8
}

func upper(c byte) bool { return c >= 'A' && c <= 'Z' }

func (w *walker) decode(b []byte) header {
	lv := w.top()
	var order binary.ByteOrder = binary.LittleEndian
	if lv.bigEndian {
		order = binary.BigEndian
	}
	h := header{
		tag:       Tag(order.Uint16(b))<<16 | Tag(order.Uint16(b[2:])),
		bigEndian: lv.bigEndian,
	}
	length := order.Uint32(b[len(b)-4:])
	switch {
	case h.tag>>16 == 0xFFFE || lv.kind != ofElements:
	case lv.implicit:
		h.vr = h.tag.vr(w.signed)
	case len(b) == 12:
		if h.vr = vrOf(b[4], b[5]); h.vr == "" {
			h.vr = "UN"
		}
	default:
		length = uint32(order.Uint16(b[6:]))
		if h.vr = vrOf(b[4], b[5]); h.vr == "" && placeholderVR(b[4], b[5]) {
			h.vr = "UN"
		}
	}
	h.length = int64(length)
	if length == math.MaxUint32 {
		h.length = undefined
	}
	return h
}

// placeholderVR tells what some writers put where they know no VR; the length
// that follows has 16 bits.
func placeholderVR(a, b byte) bool {
	return a == b && (a == 0 || a == ' ' || a == '?' || a == '-')
}
