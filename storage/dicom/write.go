package dicom

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/esante-alsace/cigogne/storage"
)

// AppendExplicit appends a Data Set in Explicit VR Little Endian (PS3.5 §7.1.2,
// §A.2), sequences and items with their length, so that equal Data Sets are
// equal bytes. Text is written in UTF-8: SpecificCharacterSet is the caller's to
// say so. It is for Data Sets that we make; what was received is kept as it
// came. Elements out of order, bulk values, and values that do not fit their VR
// are storage.ErrInvalid.
func AppendExplicit(dst []byte, ds DataSet) ([]byte, error) {
	return (dataSetWriter{}).append(dst, ds, maxWriteDepth)
}

// AppendImplicit is AppendExplicit in Implicit VR Little Endian (PS3.5 §7.1.3,
// §A.1).
func AppendImplicit(dst []byte, ds DataSet) ([]byte, error) {
	return (dataSetWriter{implicit: true}).append(dst, ds, maxWriteDepth)
}

// dataSetWriter writes Data Sets in little endian.
type dataSetWriter struct{ implicit bool }

// maxWriteDepth is how deep sequences may lie in each other.
const maxWriteDepth = 16

func (w dataSetWriter) append(dst []byte, ds DataSet, depth int) (_ []byte, err error) {
	if depth == 0 {
		return nil, fmt.Errorf("%w: sequences of more than %d levels", storage.ErrInvalid, maxWriteDepth)
	}
	for i, e := range ds {
		if i > 0 && ds[i-1].Tag >= e.Tag {
			return nil, fmt.Errorf("%w: %08X does not come after %08X", storage.ErrInvalid, uint32(e.Tag), uint32(ds[i-1].Tag))
		}
		if dst, err = w.element(dst, &e, depth); err != nil {
			return nil, fmt.Errorf("%08X: %w", uint32(e.Tag), err)
		}
	}
	return dst, nil
}

func (w dataSetWriter) element(dst []byte, e *Element, depth int) (_ []byte, err error) {
	if !e.VR.known() || e.Bulk != nil {
		return nil, fmt.Errorf("%w: VR %q cannot be written", storage.ErrInvalid, e.VR)
	}
	dst = binary.LittleEndian.AppendUint16(dst, uint16(e.Tag>>16))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(e.Tag))
	width := 4
	switch {
	case w.implicit:
	case e.VR.longForm():
		dst = append(append(dst, e.VR...), 0, 0)
	default:
		dst, width = append(dst, e.VR...), 2
	}
	dst = append(dst, make([]byte, width)...)
	start := len(dst)
	if e.VR == "SQ" {
		dst, err = w.items(dst, e.Items, depth)
	} else {
		dst, err = appendValue(dst, e.VR, e.Values)
	}
	if err != nil {
		return nil, err
	}
	if (len(dst)-start)%2 == 1 {
		dst = append(dst, e.VR.padding())
	}
	length := len(dst) - start
	switch {
	case width == 4 && length < math.MaxUint32:
		binary.LittleEndian.PutUint32(dst[start-4:], uint32(length))
	case width == 2 && length <= math.MaxUint16:
		binary.LittleEndian.PutUint16(dst[start-2:], uint16(length))
	default:
		return nil, fmt.Errorf("%w: a value of %d bytes in VR %s", storage.ErrInvalid, length, e.VR)
	}
	return dst, nil
}

func (w dataSetWriter) items(dst []byte, items []DataSet, depth int) (_ []byte, err error) {
	for _, item := range items {
		dst = binary.LittleEndian.AppendUint16(dst, uint16(tagItem>>16))
		dst = binary.LittleEndian.AppendUint16(dst, uint16(tagItem&0xFFFF))
		dst = append(dst, 0, 0, 0, 0)
		start := len(dst)
		if dst, err = w.append(dst, item, depth-1); err != nil {
			return nil, err
		}
		if len(dst)-start >= math.MaxUint32 {
			return nil, fmt.Errorf("%w: an item of %d bytes", storage.ErrInvalid, len(dst)-start)
		}
		binary.LittleEndian.PutUint32(dst[start-4:], uint32(len(dst)-start))
	}
	return dst, nil
}

// padding makes a value's length even (PS3.5 §6.2).
func (vr VR) padding() byte {
	switch vr.class() {
	case classStrings, classText, classPN, classDecimal:
		if vr != "UI" {
			return ' '
		}
	default: // the others are filled with NUL, as UI is
	}
	return 0
}

func appendValue(dst []byte, vr VR, values []string) (_ []byte, err error) {
	switch vr.class() {
	case classBinary:
		if len(values) == 0 {
			return dst, nil
		}
		if dst, err = base64.StdEncoding.AppendDecode(dst, []byte(values[0])); err != nil {
			return nil, fmt.Errorf("%w: %w", storage.ErrInvalid, err)
		}
		return dst, nil
	case classNumber, classAT:
		for _, v := range values {
			if dst, err = appendBinary(dst, vr, v); err != nil {
				return nil, fmt.Errorf("%w: %s %q", storage.ErrInvalid, vr, v)
			}
		}
		return dst, nil
	case classText:
		if len(values) > 1 {
			return nil, fmt.Errorf("%w: VR %s has one value", storage.ErrInvalid, vr)
		}
	default:
		for _, v := range values {
			if strings.Contains(v, `\`) {
				return nil, fmt.Errorf("%w: a backslash parts values of VR %s", storage.ErrInvalid, vr)
			}
		}
	}
	return append(dst, strings.Join(values, `\`)...), nil
}

// appendBinary appends one number or tag from its text.
func appendBinary(dst []byte, vr VR, text string) ([]byte, error) {
	le := binary.LittleEndian
	switch vr {
	case "AT":
		n, err := strconv.ParseUint(text, 16, 32)
		return le.AppendUint16(le.AppendUint16(dst, uint16(n>>16)), uint16(n)), err
	case "FL":
		f, err := strconv.ParseFloat(text, 32)
		return le.AppendUint32(dst, math.Float32bits(float32(f))), err
	case "FD":
		f, err := strconv.ParseFloat(text, 64)
		return le.AppendUint64(dst, math.Float64bits(f)), err
	case "US", "UL", "UV":
		n, err := strconv.ParseUint(text, 10, 8*vr.wordSize())
		return appendWord(dst, vr, n), err
	default: // SS, SL, SV
		n, err := strconv.ParseInt(text, 10, 8*vr.wordSize())
		return appendWord(dst, vr, uint64(n)), err
	}
}

func appendWord(dst []byte, vr VR, n uint64) []byte {
	for range vr.wordSize() {
		dst = append(dst, byte(n))
		n >>= 8
	}
	return dst
}
