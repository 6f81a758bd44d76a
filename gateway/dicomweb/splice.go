package dicomweb

import (
	"bytes"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

// splicer adds RetrieveURL (0008,1190) to DICOM JSON objects without decoding
// them. It keeps a buffer, so it serves one answer.
type splicer struct {
	root  string
	level index.Level
	buf   []byte
	url   []byte
}

func newSplicer(root string, level index.Level) *splicer {
	return &splicer{root: root, level: level}
}

// withRetrieveURL returns the object with its RetrieveURL in its place in the
// order of tags; it is valid until the next call. An object that has one, or
// that lacks the UIDs to make one, is returned as it is.
func (s *splicer) withRetrieveURL(object []byte) []byte {
	var names storage.InstanceKey
	at, has, first := -1, false, true
	end := members(object, func(begin int, key, value []byte) {
		switch string(key) {
		case "00081190":
			has = true
		case "0020000D":
			names.StudyInstanceUID = firstValue(value)
		case "0020000E":
			names.SeriesInstanceUID = firstValue(value)
		case "00080018":
			names.SOPInstanceUID = firstValue(value)
		}
		if at < 0 && string(key) > "00081190" {
			at = begin
		}
		first = false
	})
	url, ok := s.retrieveURL(names)
	if end < 0 || has || !ok {
		return object
	}
	out := s.buf[:0]
	if at >= 0 {
		out = append(append(out, object[:at]...), url...)
		out = append(append(out, ','), object[at:]...)
	} else {
		out = append(out, object[:end]...)
		if !first {
			out = append(out, ',')
		}
		out = append(append(out, url...), object[end:]...)
	}
	s.buf = out
	return out
}

// retrieveURL is the member to splice in.
func (s *splicer) retrieveURL(k storage.InstanceKey) ([]byte, bool) {
	var url string
	switch {
	case !storage.ValidUID(k.StudyInstanceUID):
		return nil, false
	case s.level == index.Study:
		url = studyURL(s.root, k.StudyInstanceUID)
	case !storage.ValidUID(k.SeriesInstanceUID):
		return nil, false
	case s.level == index.Series:
		url = seriesURL(s.root, k.StudyInstanceUID, k.SeriesInstanceUID)
	case !storage.ValidUID(k.SOPInstanceUID):
		return nil, false
	default:
		url = instanceURL(s.root, k)
	}
	s.url = appendText(s.url[:0], "00081190", "UR", url)
	return s.url, true
}

// members calls visit for each member of a JSON object: where its key begins,
// the key without quotes, and the value. It returns where the closing brace
// is, or -1 for what is no object. It trusts the object to be well-formed
// JSON, and does not read beyond it when it is not.
func members(object []byte, visit func(begin int, key, value []byte)) int {
	i := skipSpace(object, 0)
	if i >= len(object) || object[i] != '{' {
		return -1
	}
	for i++; ; {
		i = skipSpace(object, i)
		if i >= len(object) {
			return -1
		}
		switch object[i] {
		case '}':
			return i
		case ',':
			i++
		case '"':
			begin := i
			colon := skipValue(object, i)
			key := bytes.TrimRight(object[begin:colon], " \t\r\n")
			if colon >= len(object) || object[colon] != ':' || len(key) < 2 {
				return -1
			}
			i = skipValue(object, colon+1)
			visit(begin, key[1:len(key)-1], object[colon+1:i])
		default:
			return -1
		}
	}
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}

// skipValue returns where the value that begins at i ends: at the comma, colon
// or closing bracket of its own level.
func skipValue(b []byte, i int) int {
	depth := 0
	for ; i < len(b); i++ {
		switch b[i] {
		case '"':
			i = skipText(b, i)
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i
			}
			depth--
		case ',', ':':
			if depth == 0 {
				return i
			}
		}
	}
	return min(i, len(b))
}

// skipText returns where the closing quote of the text is that begins at i.
func skipText(b []byte, i int) int {
	for i++; i < len(b); {
		quote := bytes.IndexByte(b[i:], '"')
		if quote < 0 {
			return len(b)
		}
		escape := bytes.IndexByte(b[i:i+quote], '\\')
		if escape < 0 {
			return i + quote
		}
		i += escape + 2
	}
	return i
}

// firstValue is the first text in the Value of an attribute, or "".
func firstValue(attribute []byte) string {
	_, rest, ok := bytes.Cut(attribute, []byte(`"Value"`))
	if !ok {
		return ""
	}
	rest = bytes.TrimLeft(rest, ": [\t\r\n")
	if len(rest) == 0 || rest[0] != '"' {
		return ""
	}
	value, _, ok := bytes.Cut(rest[1:], []byte(`"`))
	if !ok {
		return ""
	}
	return string(value)
}
