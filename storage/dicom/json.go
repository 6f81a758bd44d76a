package dicom

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// bulkPrefix begins every BulkDataURI that is written here.
const bulkPrefix = "bulkdata/"

// MarshalJSON implements json.Marshaler: the DICOM JSON model object of
// PS3.18 §F.2, its BulkDataURI values relative: "bulkdata/" and Bulk.Path.
func (ds DataSet) MarshalJSON() ([]byte, error) { return ds.AppendJSON(nil), nil }

// MarshalJSON implements json.Marshaler: the element's object, without its
// tag, which is the name of it in the object around.
func (e Element) MarshalJSON() ([]byte, error) { return e.AppendJSON(nil), nil }

// AppendJSON appends what MarshalJSON returns.
func (ds DataSet) AppendJSON(dst []byte) []byte {
	dst = append(dst, '{')
	for i, e := range ds {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendName(dst, e.Tag)
		dst = e.AppendJSON(dst)
	}
	return append(dst, '}')
}

func appendName(dst []byte, tag Tag) []byte {
	dst = append(dst, '"')
	dst = tag.append(dst)
	return append(dst, '"', ':')
}

func appendVR(dst []byte, vr VR) []byte {
	dst = append(dst, `{"vr":`...)
	return appendString(dst, string(vr))
}

// AppendJSON appends what MarshalJSON returns.
func (e Element) AppendJSON(dst []byte) []byte {
	dst = appendVR(dst, e.VR)
	switch {
	case e.Bulk != nil:
		dst = append(dst, `,"BulkDataURI":`...)
		dst = appendString(dst, bulkPrefix+e.Bulk.Path)
	case len(e.Items) > 0:
		dst = append(dst, `,"Value":[`...)
		for i, item := range e.Items {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = item.AppendJSON(dst)
		}
		dst = append(dst, ']')
	case len(e.Values) == 0:
	case e.VR.class() == classBinary:
		dst = append(dst, `,"InlineBinary":`...)
		dst = appendString(dst, e.Values[0])
	default:
		dst = appendValues(dst, e.VR, e.Values)
	}
	return append(dst, '}')
}

func appendValues(dst []byte, vr VR, values []string) []byte {
	dst = append(dst, `,"Value":[`...)
	for i, v := range values {
		if i > 0 {
			dst = append(dst, ',')
		}
		switch class := vr.class(); {
		case v == "":
			dst = append(dst, "null"...)
		case class == classPN:
			dst = appendPersonName(dst, v)
		case (class == classDecimal || class == classNumber) && jsonNumber(vr, v):
			dst = append(dst, v...)
		default:
			dst = appendString(dst, v)
		}
	}
	return append(dst, ']')
}

// appendPersonName writes the component groups of a person name.
func appendPersonName(dst []byte, v string) []byte {
	dst = append(dst, '{')
	begin := len(dst)
	for _, group := range []string{"Alphabetic", "Ideographic", "Phonetic"} {
		value, rest, more := strings.Cut(v, "=")
		if group == "Phonetic" {
			value, more = v, false // whatever is left, so that nothing is lost
		}
		if value != "" {
			if len(dst) > begin {
				dst = append(dst, ',')
			}
			dst = appendString(dst, group)
			dst = append(dst, ':')
			dst = appendString(dst, value)
		}
		if !more {
			break
		}
		v = rest
	}
	return append(dst, '}')
}

// jsonNumber tells whether v may be written as a JSON number: whether it has
// JSON's form, and every reader can hold it. 64-bit integers beyond 2^53 are
// written as strings (PS3.18 §F.2.3.1).
func jsonNumber(vr VR, v string) bool {
	if !numberForm(v) {
		return false
	}
	switch vr {
	case "SV", "UV":
		n, err := strconv.ParseFloat(v, 64)
		return err == nil && math.Abs(n) < 1<<53
	case "DS", "IS", "FD", "FL":
		if len(v) > 16 || strings.ContainsAny(v, "eE") {
			_, err := strconv.ParseFloat(v, 64)
			return err == nil
		}
	}
	return true
}

// numberForm is the grammar of RFC 8259 §6.
func numberForm(v string) bool {
	v = strings.TrimPrefix(v, "-")
	whole := digits(v)
	if whole == 0 || whole > 1 && v[0] == '0' {
		return false
	}
	v = v[whole:]
	if strings.HasPrefix(v, ".") {
		n := digits(v[1:])
		if n == 0 {
			return false
		}
		v = v[1+n:]
	}
	if v != "" && v[0]|0x20 == 'e' {
		v = v[1:]
		if v != "" && (v[0] == '+' || v[0] == '-') {
			v = v[1:]
		}
		n := digits(v)
		if n == 0 {
			return false
		}
		v = v[n:]
	}
	return v == ""
}

func digits(s string) int {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}

// appendString writes s as a JSON string, with invalid UTF-8 replaced.
func appendString(dst []byte, s string) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, '"')
	done := 0 // of s, up to where nothing has to be written otherwise
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' && c < 0x7F {
			continue
		}
		dst = append(dst, s[done:i]...)
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < utf8.RuneSelf:
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&0xF])
		default:
			r, n := utf8.DecodeRuneInString(s[i:])
			dst = utf8.AppendRune(dst, r)
			i += n - 1
		}
		done = i + 1
	}
	return append(append(dst, s[done:]...), '"')
}

var _ json.Marshaler = DataSet(nil)
