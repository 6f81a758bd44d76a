package dicom

import (
	"bytes"
	"io"
)

// relativeBulk is how a relative BulkDataURI begins in the JSON that is
// written here. It can't stand inside a JSON string, whose quotes are escaped.
const relativeBulk = `"BulkDataURI":"` + bulkPrefix

// WithBulkRoot returns a writer that makes the relative BulkDataURI values in
// DICOM JSON absolute: they will begin with root + "/bulkdata/". Everything
// else passes to w unchanged, however it is cut into writes. It keeps back a
// few bytes that a write leaves undecided; a whole JSON value leaves none.
func WithBulkRoot(w io.Writer, root string) io.Writer {
	quoted := appendString(nil, root)
	const name = len(`"BulkDataURI":"`)
	return &bulkRoot{w: w, absolute: relativeBulk[:name] + string(quoted[1:len(quoted)-1]) + "/" + bulkPrefix}
}

type bulkRoot struct {
	w        io.Writer
	absolute string
	held     []byte // the beginning of relativeBulk
}

func (b *bulkRoot) Write(p []byte) (int, error) {
	rest := p
	if len(b.held) > 0 {
		rest = append(b.held, p...)
		b.held = nil
	}
	for {
		before, after, found := cutRelative(rest)
		if !found {
			break
		}
		if _, err := b.w.Write(before); err != nil {
			return 0, err
		}
		if _, err := io.WriteString(b.w, b.absolute); err != nil {
			return 0, err
		}
		rest = after
	}
	cut := len(rest) - undecided(rest)
	b.held = bytes.Clone(rest[cut:])
	if _, err := b.w.Write(rest[:cut]); err != nil {
		return 0, err
	}
	return len(p), nil
}

// cutRelative is bytes.Cut at relativeBulk. It looks for what follows the quote,
// of which JSON is full.
func cutRelative(p []byte) (before, after []byte, found bool) {
	for from := 0; ; {
		at := bytes.Index(p[from:], []byte(relativeBulk[1:]))
		if at < 0 {
			return p, nil, false
		}
		if at += from; at > 0 && p[at-1] == relativeBulk[0] {
			return p[:at-1], p[at-1+len(relativeBulk):], true
		}
		from = at + 1
	}
}

// undecided is the length of the longest end of p with which relativeBulk may
// begin.
func undecided(p []byte) int {
	for n := min(len(p), len(relativeBulk)-1); n > 0; n-- {
		if bytes.HasPrefix([]byte(relativeBulk), p[len(p)-n:]) {
			return n
		}
	}
	return 0
}
