package dicom

import (
	"fmt"
	"io"
)

// WriteJSON writes the DICOM JSON object of a whole Data Set, as MarshalJSON
// would, in memory that ScanLimits bounds but for MaxKept, whatever the length
// of the Data Set. Elements come in the order of the Data Set. Errors wrap
// storage.ErrInvalid or storage.ErrTooLarge when the Data Set can't be read;
// those of dataSet and w are passed on. What was written before is no JSON.
func WriteJSON(w io.Writer, dataSet io.Reader, transferSyntaxUID string, limits ScanLimits) error {
	limits = limits.withDefaults()
	ts := LookupTransferSyntax(transferSyntaxUID)
	stream := &streamer{w: w, limits: limits, open: make([]streamLevel, 1, 8)}
	stream.buf = append(stream.buf, '{')
	walk := newWalker(ts, limits, stream)
	if err := push(dataSet, walk, ts, limits); err != nil {
		return err
	}
	stream.buf = append(stream.buf, '}')
	return stream.flush()
}

// push sends all that dataSet yields through walk.
func push(dataSet io.Reader, walk *walker, ts TransferSyntax, limits ScanLimits) error {
	write, end, abort := walk.write, walk.close, func() {}
	if ts.Deflated {
		inflate := startInflater(walk, limits)
		write, end, abort = inflate.write, inflate.close, inflate.abort
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := dataSet.Read(buf)
		if failed := write(buf[:n]); failed != nil {
			abort()
			return failed
		}
		if err == io.EOF {
			return end()
		}
		if err != nil {
			abort()
			return fmt.Errorf("reading the Data Set: %w", err)
		}
	}
}

// streamer is the visitor that writes DICOM JSON as it goes.
type streamer struct {
	w      io.Writer
	limits ScanLimits
	buf    []byte
	open   []streamLevel
	// muted counts the sequences around that are left out.
	muted int
}

// streamLevel is the Data Set, or a sequence and its item that is open.
type streamLevel struct {
	tag   Tag // of the sequence
	items int
	cs    *charset
	last  Tag
	some  bool // an element was written
}

func (s *streamer) top() *streamLevel { return &s.open[len(s.open)-1] }

// flush writes what was gathered.
func (s *streamer) flush() error {
	_, err := s.w.Write(s.buf)
	s.buf = s.buf[:0]
	return err
}

func (s *streamer) flushFull() error {
	if len(s.buf) < 32<<10 {
		return nil
	}
	return s.flush()
}

// name begins an element; false when it is not to be written: because it is
// the second of its tag, or no part of the metadata.
func (s *streamer) name(tag Tag) bool {
	top := s.top()
	if s.muted > 0 || !inMetadata(tag) || top.some && top.last == tag {
		return false
	}
	if top.some {
		s.buf = append(s.buf, ',')
	}
	top.some, top.last = true, tag
	s.buf = appendName(s.buf, tag)
	return true
}

// inMetadata tells what belongs into DICOM JSON: no group lengths (PS3.18
// §F.2.2), and no padding.
func inMetadata(tag Tag) bool {
	return tag&tagGroupLengthMask != 0 && tag != tagTrailingPadding
}

func (s *streamer) element(h *header) int {
	if !inMetadata(h.tag) {
		return -1
	}
	if s.limits.bulk(h) {
		s.bulk(h)
		return -1
	}
	return int(h.length)
}

func (s *streamer) bulk(h *header) {
	if !s.name(h.tag) {
		return
	}
	var path []byte
	for _, lv := range s.open[1:] {
		path = appendStep(path, lv.tag, lv.items-1)
	}
	e := Element{Tag: h.tag, VR: h.vr, Bulk: &Bulk{Path: string(h.tag.append(path))}}
	s.buf = e.AppendJSON(s.buf)
}

func (s *streamer) value(h *header, p []byte) error {
	top := s.top()
	values := decodeValues(h, p, top.cs)
	if h.tag == tagSpecificCharacterSet {
		top.cs = newCharset(values)
		values = inUTF8(values)
	}
	if s.name(h.tag) {
		s.buf = Element{Tag: h.tag, VR: h.vr, Values: values}.AppendJSON(s.buf)
	}
	return s.flushFull()
}

func (s *streamer) openSequence(h *header) error {
	written := s.name(h.tag)
	s.open = append(s.open, streamLevel{tag: h.tag})
	if !written {
		s.muted++
		return nil
	}
	s.buf = appendVR(s.buf, "SQ")
	return nil
}

func (s *streamer) openItem() error {
	top := s.top()
	top.items++
	top.cs, top.some = s.open[len(s.open)-2].cs, false
	switch {
	case s.muted > 0:
	case top.items == 1:
		s.buf = append(s.buf, `,"Value":[{`...)
	default:
		s.buf = append(s.buf, ',', '{')
	}
	return nil
}

func (s *streamer) closeItem() error {
	if s.muted == 0 {
		s.buf = append(s.buf, '}')
	}
	return s.flushFull()
}

func (s *streamer) closeSequence() error {
	items := s.top().items
	s.open = s.open[:len(s.open)-1]
	if s.muted > 0 {
		s.muted--
		return nil
	}
	if items > 0 {
		s.buf = append(s.buf, ']')
	}
	s.buf = append(s.buf, '}')
	return nil
}

func (s *streamer) openFragments(h *header) error {
	s.bulk(h)
	return nil
}

func (s *streamer) fragment(*header) int { return -1 }

func (s *streamer) closeFragments(int64) error { return nil }
