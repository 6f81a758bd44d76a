package dicom

import (
	"bytes"
	"io"
)

// WithElements returns a writer that lays the elements of over, in ascending
// order, over one DICOM JSON object while it passes to w: each stands in place
// of the member with its tag, or where that would be. The object must be
// well-formed, compact and in ascending order of tags, as WriteJSON and
// AppendJSON write it; other bytes are passed on, or not, without harm.
func WithElements(w io.Writer, over DataSet) io.Writer {
	if len(over) == 0 {
		return w
	}
	return &overlay{w: w, over: over}
}

type overlay struct {
	w    io.Writer
	over DataSet // what is still to be laid

	out     []byte
	key     []byte // of the member that begins, with its quotes
	depth   int
	quoted  bool // inside a string
	escaped bool
	inKey   bool
	dropped bool // the member is replaced
	members bool // one was written
	passing bool // nothing more is to be done
}

// Write implements io.Writer.
func (o *overlay) Write(p []byte) (int, error) {
	n := len(p)
	o.out = o.out[:0]
	for len(p) > 0 && !o.passing {
		p = o.step(p)
	}
	o.out = append(o.out, p...)
	if _, err := o.w.Write(o.out); err != nil {
		return 0, err
	}
	return n, nil
}

// step takes one byte or a run of them, and returns the rest.
func (o *overlay) step(p []byte) []byte {
	c := p[0]
	switch {
	case o.quoted:
		return o.text(p)
	case c == '"':
		o.quoted, o.inKey = true, o.depth == 1 && o.key == nil
		if o.inKey {
			o.key = append(make([]byte, 0, len(`"00100020"`)), c)
			return p[1:]
		}
	case c == '{' || c == '[':
		o.depth++
	case c == '}' || c == ']':
		if o.depth--; o.depth == 0 {
			o.lay(^Tag(0))
			o.passing = true
			return p
		}
	case c == ',' && o.depth == 1:
		o.key, o.dropped = nil, false
		return p[1:] // written before the next member
	}
	o.put(c)
	return p[1:]
}

func (o *overlay) put(bytes ...byte) {
	if !o.dropped {
		o.out = append(o.out, bytes...)
	}
}

// text takes what is inside a string, up to its end.
func (o *overlay) text(p []byte) []byte {
	end := 0
	for ; end < len(p) && o.quoted; end++ {
		switch {
		case o.escaped:
			o.escaped = false
		case p[end] == '\\':
			o.escaped = true
		case p[end] == '"':
			o.quoted = false
		}
	}
	if !o.inKey {
		o.put(p[:end]...)
		return p[end:]
	}
	o.key = append(o.key, p[:end]...)
	if !o.quoted {
		o.inKey = false
		o.begin()
	}
	return p[end:]
}

// begin decides about the member whose key was read.
func (o *overlay) begin() {
	tag, err := ParseTag(string(bytes.Trim(o.key, `"`)))
	if err != nil {
		tag = 0
	}
	o.lay(tag)
	if len(o.over) > 0 && o.over[0].Tag == tag && err == nil {
		o.dropped = true // lay writes ours when the next member begins
		return
	}
	o.comma()
	o.out = append(o.out, o.key...)
	o.passing = len(o.over) == 0
}

// lay writes the elements that come before the tag.
func (o *overlay) lay(before Tag) {
	for len(o.over) > 0 && o.over[0].Tag < before {
		o.comma()
		o.dropped = false
		object := o.over[:1].AppendJSON(nil)
		o.out = append(o.out, object[1:len(object)-1]...)
		o.over = o.over[1:]
	}
}

func (o *overlay) comma() {
	if o.members {
		o.out = append(o.out, ',')
	}
	o.members = true
}
