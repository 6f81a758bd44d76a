package gateway

import "math"

// kept is what retrievals need of a record. The rest is passed over.
type kept struct {
	Version  int    `cbor:"1,keyasint"`
	Layout   []byte `cbor:"4,keyasint,omitempty"`
	Metadata []byte `cbor:"5,keyasint,omitempty"`
}

// decodeKept finds it in a header, and returns parts of that. A header as
// record.encode writes it is walked once, without looking into what is passed
// over: metadata of a series are hundreds of headers.
func decodeKept(header []byte) (*kept, error) {
	k := new(kept)
	if !k.find(header) {
		*k = kept{}
		if err := decodeHeader(header, k); err != nil {
			return nil, err
		}
	}
	return k, checkVersion(k.Version)
}

// find walks a header whose keys rise. It tells false of whatever it does not
// know, which need not be wrong.
func (k *kept) find(header []byte) bool {
	w := walk{header}
	major, pairs, ok := w.head()
	if !ok || major != cborMap {
		return false
	}
	var last uint64
	for range pairs {
		major, key, ok := w.head()
		if !ok || major != cborUnsigned || key <= last {
			return false
		}
		switch last = key; key {
		case 1:
			major, version, found := w.head()
			k.Version, ok = int(version&math.MaxInt32), found && major == cborUnsigned && version <= math.MaxInt32
		case 4:
			k.Layout, ok = w.bytes()
		case 5:
			k.Metadata, ok = w.bytes()
		default:
			ok = w.pass()
		}
		if !ok {
			return false
		}
	}
	return len(w.rest) == 0
}

// The major types of CBOR (RFC 8949 §3.1).
const (
	cborUnsigned = iota
	_
	cborBytes
	cborText
	cborArray
	cborMap
	cborTag
	_
)

// walk reads CBOR from its front. After it has told false it is of no use.
type walk struct{ rest []byte }

// head reads the head of an item, none of indefinite length.
func (w *walk) head() (major byte, argument uint64, ok bool) {
	if len(w.rest) == 0 {
		return 0, 0, false
	}
	major, argument = w.rest[0]>>5, uint64(w.rest[0]&31)
	w.rest = w.rest[1:]
	if argument < 24 {
		return major, argument, true
	}
	length := 1 << (argument - 24)
	if length > 8 || len(w.rest) < length {
		return 0, 0, false
	}
	argument = 0
	for _, b := range w.rest[:length] {
		argument = argument<<8 | uint64(b)
	}
	w.rest = w.rest[length:]
	return major, argument, true
}

// bytes reads a byte string.
func (w *walk) bytes() ([]byte, bool) {
	major, n, ok := w.head()
	if !ok || major != cborBytes || n > uint64(len(w.rest)) {
		return nil, false
	}
	b := w.rest[:n:n]
	w.rest = w.rest[n:]
	return b, true
}

// pass passes one item over, with all that is in it.
func (w *walk) pass() bool {
	for left := uint64(1); left > 0; left-- {
		major, n, ok := w.head()
		if !ok {
			return false
		}
		switch major {
		case cborBytes, cborText:
			if n > uint64(len(w.rest)) {
				return false
			}
			w.rest = w.rest[n:]
		case cborArray, cborMap:
			if n > uint64(len(w.rest)) { // an item takes a byte at least
				return false
			}
			if left += n; major == cborMap {
				left += n
			}
		case cborTag:
			left++
		}
	}
	return true
}
