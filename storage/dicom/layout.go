package dicom

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"github.com/esante-alsace/cigogne/storage"
)

// layoutJSON is the stored form of a Layout. Offsets count from the
// first byte of the Data Set.
type layoutJSON struct {
	Bulk   []bulkJSON  `json:"bulk,omitempty"`
	Frames *framesJSON `json:"frames,omitempty"`
}

type bulkJSON struct {
	Path   string `json:"path"`
	VR     string `json:"vr"`
	Offset int64  `json:"offset"`
	Length int64  `json:"length"`
}

// framesJSON keeps fragments as base64 of varints, because there may be tens
// of thousands: for each fragment the gap after the one before it (zigzag; 8
// is the item header between two) and its length; for each frame the step in
// the index of its first fragment (zigzag), left out when each frame is one
// fragment.
type framesJSON struct {
	Count         int    `json:"count"`
	FrameBits     int64  `json:"frameBits,omitempty"`
	Offset        int64  `json:"offset,omitempty"` // of the native value
	Length        int64  `json:"length,omitempty"`
	Fragments     []byte `json:"fragments,omitempty"`
	FirstFragment []byte `json:"firstFragment,omitempty"`
	Single        bool   `json:"single,omitempty"` // frame i is fragment i
}

// MarshalJSON writes the form in which a Layout is stored: some five bytes a
// fragment.
func (l *Layout) MarshalJSON() ([]byte, error) {
	var out layoutJSON
	for _, b := range l.Bulk {
		out.Bulk = append(out.Bulk, bulkJSON{b.Path, string(b.VR), b.Range.Offset, b.Range.Length})
	}
	if f := l.Frames; f != nil {
		out.Frames = &framesJSON{Count: f.Count, FrameBits: f.FrameBits, Offset: f.Native.Offset, Length: f.Native.Length}
		out.Frames.Fragments = encodeRanges(f.Fragments)
		if out.Frames.Single = isSingle(f); !out.Frames.Single {
			out.Frames.FirstFragment = encodeSteps(f.FirstFragment)
		}
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads what MarshalJSON wrote. Check tells whether it makes
// sense.
func (l *Layout) UnmarshalJSON(b []byte) error {
	var in layoutJSON
	if err := json.Unmarshal(b, &in); err != nil {
		return fmt.Errorf("%w: layout: %w", storage.ErrInvalid, err)
	}
	*l = Layout{}
	for _, b := range in.Bulk {
		l.Bulk = append(l.Bulk, Bulk{Path: b.Path, VR: VR(b.VR), Range: storage.Range{Offset: b.Offset, Length: b.Length}})
	}
	if in.Frames == nil {
		return nil
	}
	frames, err := in.Frames.decode()
	if err != nil {
		return fmt.Errorf("%w: layout: %w", storage.ErrInvalid, err)
	}
	l.Frames = frames
	return nil
}

func isSingle(f *Frames) bool {
	if len(f.FirstFragment) == 0 || len(f.FirstFragment) != len(f.Fragments) {
		return false
	}
	for i, first := range f.FirstFragment {
		if first != i {
			return false
		}
	}
	return true
}

func encodeRanges(ranges []storage.Range) []byte {
	var b []byte
	end := int64(0)
	for _, r := range ranges {
		b = binary.AppendVarint(b, r.Offset-end)
		b = binary.AppendUvarint(b, uint64(r.Length))
		end = r.End()
	}
	return b
}

func encodeSteps(numbers []int) []byte {
	var b []byte
	last := 0
	for _, n := range numbers {
		b = binary.AppendVarint(b, int64(n-last))
		last = n
	}
	return b
}

func (f *framesJSON) decode() (*Frames, error) {
	out := &Frames{Count: f.Count, FrameBits: f.FrameBits, Native: storage.Range{Offset: f.Offset, Length: f.Length}}
	end := int64(0)
	for b := f.Fragments; len(b) > 0; {
		gap, n := binary.Varint(b)
		length, m := binary.Uvarint(b[max(n, 0):])
		if n <= 0 || m <= 0 {
			return nil, errors.New("fragments are no varints")
		}
		out.Fragments = append(out.Fragments, storage.Range{Offset: end + gap, Length: int64(length)})
		end += gap + int64(length)
		b = b[n+m:]
	}
	if f.Single {
		for i := range out.Fragments {
			out.FirstFragment = append(out.FirstFragment, i)
		}
	}
	last := 0
	for b := f.FirstFragment; len(b) > 0; {
		step, n := binary.Varint(b)
		if n <= 0 {
			return nil, errors.New("first fragments are no varints")
		}
		last += int(step)
		out.FirstFragment = append(out.FirstFragment, last)
		b = b[n:]
	}
	return out, nil
}

// Check returns nil when every range lies in a Data Set of the length and
// every index in its slice, or an error that wraps storage.ErrInvalid. The
// ranges of a deflated Data Set are of the inflated one, whose length is not
// known: they are checked against no length.
func (l *Layout) Check(dataSet int64, transferSyntaxUID string) error {
	if LookupTransferSyntax(transferSyntaxUID).Deflated {
		dataSet = math.MaxInt64
	}
	for _, b := range l.Bulk {
		if !b.Range.Within(dataSet) {
			return fmt.Errorf("%w: bulk value %s reaches beyond the Data Set", storage.ErrInvalid, b.Path)
		}
	}
	if l.Frames == nil {
		return nil
	}
	if err := l.Frames.check(dataSet); err != nil {
		return fmt.Errorf("%w: %w", storage.ErrInvalid, err)
	}
	return nil
}

func (f *Frames) check(size int64) error {
	if f.Count < 1 || f.FrameBits < 0 || !f.Native.Within(size) {
		return errors.New("pixel data reaches beyond the Data Set")
	}
	for _, r := range f.Fragments {
		if !r.Within(size) {
			return errors.New("a fragment reaches beyond the Data Set")
		}
	}
	if f.FrameBits == 0 && len(f.FirstFragment) != f.Count {
		return fmt.Errorf("%d frames begin at %d fragments", f.Count, len(f.FirstFragment))
	}
	for i, first := range f.FirstFragment {
		if first < 0 || first > len(f.Fragments) || i > 0 && first < f.FirstFragment[i-1] {
			return errors.New("a frame begins at no fragment")
		}
	}
	return nil
}
