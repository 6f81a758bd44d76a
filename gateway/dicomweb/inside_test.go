package dicomweb

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
)

// TestBitFrames compares frames that begin inside of a byte with bits that are
// picked one by one.
func TestBitFrames(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	value := make([]byte, 200)
	for i := range value {
		value[i] = byte(random.Uint32())
	}
	for _, frameBits := range []int64{1, 3, 7, 8, 9, 15, 64, 101} {
		about := storage.Instance{Size: 10 + int64(len(value)), Prefix: 4}
		p := &pixels{in: sliced(append(make([]byte, 10), value...)), about: about, layout: &dicom.Frames{
			Count: int(int64(len(value)) * 8 / frameBits), FrameBits: frameBits,
			Native: storage.Range{Offset: 6, Length: int64(len(value))},
		}}
		for n := 1; n <= p.layout.Count; n++ {
			if err := p.check(n); err != nil {
				t.Fatal(err)
			}
			want := make([]byte, (frameBits+7)/8)
			for bit := range frameBits {
				at := int64(n-1)*frameBits + bit
				want[bit/8] |= value[at/8] >> (at % 8) & 1 << (bit % 8)
			}
			for s := range p.frame(n) {
				for _, r := range []storage.Range{{Length: s.length()}, {Offset: s.length() / 2, Length: s.length() - s.length()/2}} {
					body, err := s.open(t.Context(), r)
					if err != nil {
						t.Fatal(err)
					}
					got, err := io.ReadAll(body)
					if err != nil || !bytes.Equal(got, want[r.Offset:r.End()]) {
						t.Fatalf("%d bits, frame %d, %+v: %x %v, want %x", frameBits, n, r, got, err, want[r.Offset:r.End()])
					}
				}
			}
		}
		if err := p.check(p.layout.Count + 1); !errors.Is(err, storage.ErrNotFound) {
			t.Fatalf("a frame too many: %v", err)
		}
	}
}

// TestLayoutsThatLie: fault 8. Frames that the Data Set does not hold are not
// found, and nothing beyond it is read.
func TestLayoutsThatLie(t *testing.T) {
	about := storage.Instance{Size: 300, Prefix: 44}
	for name, layout := range map[string]*dicom.Frames{
		"frames of 65535 x 65535":  {Count: 9, FrameBits: 16 * 65535 * 65535, Native: storage.Range{Length: 256}},
		"value beyond the end":     {Count: 1, FrameBits: 8 * 256, Native: storage.Range{Offset: 1, Length: 256}},
		"negative":                 {Count: 1, FrameBits: 8, Native: storage.Range{Offset: -1, Length: 256}},
		"fragment beyond the end":  {Count: 1, FirstFragment: []int{0}, Fragments: []storage.Range{{Offset: 250, Length: 10}}},
		"fewer frames than told":   {Count: 2, FirstFragment: nil},
		"fragments out of order":   {Count: 2, FirstFragment: []int{1, 0}, Fragments: []storage.Range{{Length: 1}, {Length: 1}}},
		"fragment that is missing": {Count: 1, FirstFragment: []int{7}, Fragments: []storage.Range{{Length: 1}}},
	} {
		p := &pixels{about: about, layout: layout}
		if err := p.check(1); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// sliced is an instance that lies in memory.
type sliced []byte

func (s sliced) About() storage.Instance { return storage.Instance{Size: int64(len(s))} }

func (s sliced) Open(_ context.Context, r storage.Range) (io.ReadCloser, error) {
	if !r.Within(int64(len(s))) {
		return nil, storage.ErrInvalid
	}
	return io.NopCloser(bytes.NewReader(s[r.Offset:r.End()])), nil
}

func (s sliced) WriteMetadata(context.Context, io.Writer, string) error {
	return storage.ErrUnsupported
}
func (s sliced) Layout(context.Context) (*dicom.Layout, error) { return nil, storage.ErrUnsupported }

// listed is an instance of which only the description is looked at.
type listed struct {
	sliced
	about storage.Instance
}

func (l listed) About() storage.Instance { return l.about }

// TestZIP64 lays out ZIPs that are too large to be written here and lets the
// standard library find the last entry in them.
func TestZIP64(t *testing.T) {
	for _, c := range []struct {
		name    string
		entries int
		size    int64
	}{
		{"small", 3, 100}, {"entries beyond 4 GiB", 3, 3 << 30}, {"an entry of 5 GiB", 2, 5 << 30},
		{"an entry of 4 GiB less one", 2, 4<<30 - 1}, {"70000 entries", 70_000, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := located{Selector: gateway.Selector{StudyInstanceUID: "1.2"}}
			for i := range c.entries {
				key := storage.InstanceKey{StudyInstanceUID: "1.2", SeriesInstanceUID: "1.3", SOPInstanceUID: fmt.Sprintf("1.4.%d", i)}
				l.instances = append(l.instances, listed{about: storage.Instance{Key: key, Size: c.size, CRC32: uint32(i)}})
			}
			d := zipDocument(l)
			f := newSparse(d)
			z, err := zip.NewReader(f, d.size())
			if err != nil {
				t.Fatal(err)
			}
			last := z.File[len(z.File)-1]
			if len(z.File) != c.entries || last.UncompressedSize64 != uint64(c.size) || last.CRC32 != uint32(c.entries-1) {
				t.Fatalf("%d entries, the last of %d bytes", len(z.File), last.UncompressedSize64)
			}
			offset, err := last.DataOffset()
			if want := f.data[len(f.data)-1]; err != nil || offset != want {
				t.Fatalf("data at %d (%v), want %d", offset, err, want)
			}
		})
	}
}

// sparse is a document of which only what is made here exists; what is stored
// reads as NULs.
type sparse struct {
	made map[int64][]byte
	at   []int64
	data []int64 // where stored segments begin
}

func newSparse(d document) *sparse {
	s := &sparse{made: map[int64][]byte{}}
	var at int64
	for seg := range d.segments {
		if seg.open == nil {
			s.made[at] = bytes.Clone(seg.literal)
			s.at = append(s.at, at)
		} else {
			s.data = append(s.data, at)
		}
		at += seg.length()
	}
	return s
}

func (s *sparse) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	first, found := slices.BinarySearch(s.at, off)
	if !found && first > 0 {
		first--
	}
	for _, at := range s.at[first:] {
		if at >= off+int64(len(p)) {
			break
		}
		if b := s.made[at]; at >= off {
			copy(p[at-off:], b)
		} else if off < at+int64(len(b)) {
			copy(p, b[off-at:])
		}
	}
	return len(p), nil
}

// kernel is a http.ResponseWriter that notes what it is told to read from.
type kernel struct {
	http.ResponseWriter
	files, most, total int64
}

func (k *kernel) ReadFrom(src io.Reader) (int64, error) {
	limited, ok := src.(*io.LimitedReader)
	if !ok {
		return 0, fmt.Errorf("%T hides the file", src)
	}
	if _, ok := limited.R.(*os.File); ok {
		k.files++
	}
	k.most = max(k.most, limited.N)
	n, err := io.Copy(io.Discard, limited)
	k.total += n
	return n, err
}

// TestFilesReachTheKernel: net.TCPConn uses sendfile(2) for a *os.File in an
// io.LimitedReader and for nothing else, so that is what must arrive there, in
// strides that each have a deadline.
func TestFilesReachTheKernel(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const size = 3*stride + 5
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	k := &kernel{ResponseWriter: httptest.NewRecorder()}
	a := newAnswer(k, time.Minute, newBuffers())
	n, err := io.Copy(a, io.LimitReader(f, size))
	if err != nil || n != size || k.total != size || a.sent != size || k.files != 4 || k.most != stride {
		t.Fatalf("%d bytes (%v) in %d strides of at most %d", n, err, k.files, k.most)
	}
}

func FuzzQuery(f *testing.F) {
	f.Add("PatientName=M*&StudyDate=20250101-&includefield=all&limit=10&offset=5&fuzzymatching=true")
	f.Add("00400275.00400009=x&RequestAttributesSequence.ScheduledProcedureStepID=y&includefield=00081030%2CModality")
	f.Add("limit=100000000000000000000&limit=-1&%zz;&_=")
	limits := Limits{MaxQuery: 4096, MaxParameters: 32}.withDefaults()
	f.Fuzz(func(t *testing.T, raw string) {
		q, err := parseQuestion(raw, index.Study, limits)
		if err != nil {
			if !errors.Is(err, storage.ErrInvalid) || len(err.Error()) > 1024 {
				t.Fatalf("%d bytes of %v", len(err.Error()), err)
			}
			return
		}
		if len(q.Match) > 32 || len(q.Include) > 64 || q.Offset < 0 || q.most < 0 || q.most > limits.MaxResults {
			t.Fatalf("%+v", q)
		}
		for _, c := range q.Match {
			if len(c.Path) == 0 || len(c.Path) > maxPath || strings.ContainsRune(c.Value, 0) {
				t.Fatalf("%+v", c)
			}
		}
	})
}

func FuzzFrameList(f *testing.F) {
	f.Add("1,2,3")
	f.Add("2147483648,0,-1,,x")
	f.Fuzz(func(t *testing.T, list string) {
		numbers, err := parseFrameList(list, 16)
		if err != nil {
			if !errors.Is(err, storage.ErrInvalid) && !errors.Is(err, storage.ErrNotFound) {
				t.Fatal(err)
			}
			return
		}
		if len(numbers) == 0 || len(numbers) > 16 {
			t.Fatal(numbers)
		}
		for _, n := range numbers {
			if n < 1 {
				t.Fatal(numbers)
			}
		}
	})
}

func FuzzMetaInformation(f *testing.F) {
	f.Add(append(make([]byte, 128), "DICM\x02\x00\x02\x00UI\x04\x001.2\x00\x02\x00\x01\x00OB\x00\x00\xff\xff\xff\xff"...))
	f.Fuzz(func(t *testing.T, head []byte) {
		m := metaInformation(head)
		if len(m.SOPClassUID)+len(m.Key.SOPInstanceUID) > len(head) {
			t.Fatal(m)
		}
	})
}
