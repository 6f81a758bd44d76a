package dicom

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/esante-alsace/cigogne/storage"
)

// SelectJSON reads from a DICOM JSON object the elements with these tags,
// which are sorted, whatever the length of the object: one whose value is
// longer than most bytes is passed over, as is one for which fits, which is
// told the length, is false. What is passed over needs not be sound. Errors
// wrap storage.ErrInvalid; those of text are passed on.
func SelectJSON(text io.Reader, tags []Tag, most int, fits func(t Tag, length int) bool) (DataSet, error) {
	s := skimmer{in: bufio.NewReader(text)}
	if err := s.begin(); err != nil {
		return nil, err
	}
	object := []byte{'{'}
	for more := true; more; {
		name, end, err := s.until(jsonName)
		if err != nil {
			return nil, err
		}
		if end != ':' {
			if end == '}' && len(name) == 0 { // of an empty object
				break
			}
			return nil, errNoObject
		}
		tag, wanted := wantedName(name, tags)
		bound := 0
		if wanted {
			bound = most
		}
		value, end, err := s.until(bound)
		if err != nil {
			return nil, err
		}
		if more = end == ','; !more && end != '}' {
			return nil, errNoObject
		}
		if value == nil || !fits(tag, len(value)) {
			continue
		}
		if len(object) > 1 {
			object = append(object, ',')
		}
		object = append(appendName(object, tag), value...)
	}
	var ds DataSet
	err := ds.UnmarshalJSON(append(object, '}'))
	return ds, err
}

// jsonName is the most bytes of an element's name, with its quotes.
const jsonName = 16

var errNoObject = fmt.Errorf("%w: DICOM JSON: no object", storage.ErrInvalid)

// wantedName reads the name of an element.
func wantedName(name []byte, tags []Tag) (Tag, bool) {
	if len(name) != 10 || name[0] != '"' || name[9] != '"' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(name[1:9]), 16, 32)
	if err != nil {
		return 0, false
	}
	_, wanted := slices.BinarySearch(tags, Tag(n))
	return Tag(n), wanted
}

// skimmer tells where the names and values of a JSON object end.
type skimmer struct {
	in   *bufio.Reader
	text []byte
}

// next is the next byte. That there is none is no end of an object.
func (s *skimmer) next() (byte, error) {
	c, err := s.in.ReadByte()
	if errors.Is(err, io.EOF) {
		err = errNoObject
	}
	return c, err
}

func (s *skimmer) begin() error {
	for {
		switch c, err := s.next(); {
		case err != nil:
			return err
		case c == '{':
			return nil
		case !space(c):
			return errNoObject
		}
	}
}

func space(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// until reads a name or a value, and the byte that ends it. It is nil when it
// is longer than most, and otherwise valid until the next call.
func (s *skimmer) until(most int) (text []byte, end byte, err error) {
	s.text = s.text[:0]
	var in nesting
	for long := false; ; {
		c, err := s.next()
		switch {
		case err != nil:
			return nil, 0, err
		case in.ends(c) && long:
			return nil, c, nil
		case in.ends(c):
			return s.text, c, nil
		case !in.quoted && space(c):
			continue
		}
		in.take(c)
		if long = long || len(s.text) >= most; !long {
			s.text = append(s.text, c)
		}
	}
}

// nesting is how deep in a value a byte stands.
type nesting struct {
	quoted, escaped bool
	depth           int
}

// ends tells whether a byte stands behind the value.
func (n *nesting) ends(c byte) bool {
	return !n.quoted && n.depth == 0 && (c == ':' || c == ',' || c == '}')
}

func (n *nesting) take(c byte) {
	switch {
	case n.escaped:
		n.escaped = false
	case n.quoted:
		n.escaped, n.quoted = c == '\\', c != '"'
	case c == '"':
		n.quoted = true
	case c == '{' || c == '[':
		n.depth++
	case c == '}' || c == ']':
		n.depth--
	}
}
