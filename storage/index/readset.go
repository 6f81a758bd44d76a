package index

import (
	"fmt"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
)

// maxSetDepth is how deep the sequences of a set may lie in each other; it
// cannot be reached by what was bounded when it was applied.
const maxSetDepth = 32

// The major types of CBOR (RFC 8949 §3.1) that a set is made of.
const (
	cborUint  = 0
	cborText  = 3
	cborArray = 4
)

// leastElement is the fewest bytes that a wireElement takes.
const leastElement = 5

// setReader reads a wireSet as encodeSet writes it, without reflection: to
// decode what is answered took as long as to find it. Values are pieces of the
// encoded text, and lie in few arrays.
type setReader struct {
	text   string // what is left to read
	values []string
	bad    bool // it is nothing that encodeSet writes
}

// decodeSet returns the set whose encoding b is; other bytes are
// storage.ErrCorrupt. It does not keep b.
func decodeSet(b []byte) (dicom.DataSet, error) {
	r := setReader{text: string(b)}
	ds := r.set(0)
	if r.bad || r.text != "" {
		return nil, fmt.Errorf("%w: attributes in the index", storage.ErrCorrupt)
	}
	return ds, nil
}

func (r *setReader) set(depth int) dicom.DataSet {
	n := r.head(cborArray)
	if r.bad = r.bad || n > len(r.text)/leastElement || depth > maxSetDepth; r.bad || n == 0 {
		return nil
	}
	if r.values == nil {
		r.values = make([]string, 0, n+n/4) // few have several
	}
	ds := make(dicom.DataSet, n)
	for i := range ds {
		r.element(&ds[i], depth)
	}
	return ds
}

func (r *setReader) element(e *dicom.Element, depth int) {
	const fields = 4
	if r.head(cborArray) != fields {
		r.bad = true
		return
	}
	e.Tag, e.VR = dicom.Tag(r.head(cborUint)), dicom.VR(r.string())
	e.Values = r.strings()
	if items := r.count(); items > 0 {
		e.Items = make([]dicom.DataSet, items)
		for i := range e.Items {
			e.Items[i] = r.set(depth + 1)
		}
	}
}

// strings are the values of an element, nil for none.
func (r *setReader) strings() []string {
	n := r.count()
	if n == 0 {
		return nil
	}
	if n > cap(r.values)-len(r.values) {
		r.values = make([]string, 0, max(n, 16))
	}
	from := len(r.values)
	for range n {
		r.values = append(r.values, r.string())
	}
	return r.values[from:len(r.values):len(r.values)]
}

func (r *setReader) string() string {
	n := r.head(cborText)
	if r.bad = r.bad || n > len(r.text); r.bad {
		return ""
	}
	s := r.text[:n]
	r.text = r.text[n:]
	return s
}

// count is the length of an array, of which each entry takes a byte at least.
func (r *setReader) count() int {
	n := r.head(cborArray)
	if r.bad = r.bad || n > len(r.text); r.bad {
		return 0
	}
	return n
}

// head reads the head of an item of that major type (RFC 8949 §3), in its
// shortest form, and returns its argument, of 32 bits at most.
func (r *setReader) head(major byte) int {
	if r.bad = r.bad || r.text == "" || r.text[0]>>5 != major; r.bad {
		return 0
	}
	const direct, longest = 24, 26 // arguments in the head itself, and in 1, 2 or 4 bytes after it
	n := int(r.text[0] & 0x1F)
	r.text = r.text[1:]
	if n < direct {
		return n
	}
	size := 1 << (n - direct)
	if r.bad = n > longest || size > len(r.text); r.bad {
		return 0
	}
	n = 0
	for i := range size {
		n = n<<8 | int(r.text[i])
	}
	r.text = r.text[size:]
	r.bad = n < direct || size > 1 && n>>(4*size) == 0 // there is a shorter form
	return n
}
