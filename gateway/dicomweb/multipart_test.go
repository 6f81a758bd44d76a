package dicomweb

import (
	"bytes"
	"errors"
	"io"
	"mime/multipart"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/esante-alsace/cigogne/storage"
)

// readAll reads every part, with room for so many bytes at a time; the error is
// the one that ended the body.
func readAll(t testing.TB, body io.Reader, boundary string, room int) ([]string, error) {
	t.Helper()
	m, err := newMultipartReader(body, make([]byte, bufferSize), boundary, 8<<10)
	if err != nil {
		return nil, err
	}
	var parts []string
	for {
		if _, err := m.Next(); errors.Is(err, io.EOF) {
			return parts, nil
		} else if err != nil {
			return parts, err
		}
		peeked := bytes.Clone(m.Peek(64))
		var read bytes.Buffer
		if _, err := io.CopyBuffer(struct{ io.Writer }{&read}, m, make([]byte, room)); err != nil {
			return parts, err
		}
		b := read.Bytes()
		if !bytes.HasPrefix(b, peeked) {
			t.Fatalf("peeked %q of a part that begins with %q", peeked, b[:min(64, len(b))])
		}
		parts = append(parts, string(b))
	}
}

func TestMultipartReader(t *testing.T) {
	for _, room := range []int{512, 16 << 10, 2 * bufferSize} {
		t.Run(strconv.Itoa(room), func(t *testing.T) { testMultipartReader(t, room) })
	}
}

func testMultipartReader(t *testing.T, room int) {
	large := strings.Repeat("0123456789\r\n--", 20_000)
	for _, c := range []struct {
		name, body string
		want       []string
		malformed  bool
	}{
		{"one part", "--b\r\nA: b\r\n\r\nbody\r\n--b--", []string{"body"}, false},
		{"no header", "--b\r\n\r\nbody\r\n--b--\r\n", []string{"body"}, false},
		{"no body", "--b\r\nA: b\r\n\r\n--b--", []string{""}, false},
		{"empty body", "--b\r\nA: b\r\n\r\n\r\n--b--", []string{""}, false},
		{"neither", "--b\r\n\r\n--b\r\n\r\n--b--", []string{"", ""}, false},
		{"preamble, padding, epilogue", "hi\r\n--b \t\r\n\r\n1\r\n--b\r\n\r\n2\r\n--b--\r\nbye", []string{"1", "2"}, false},
		{"what looks like a delimiter", "--b\r\n\r\nx\r\n--bb\r\n--b-\r\n--b x\r\n--\r\n--b--", []string{"x\r\n--bb\r\n--b-\r\n--b x\r\n--"}, false},
		{"line ends in the body", "--b\r\n\r\n\r\n\r\n\r\n--b--", []string{"\r\n\r\n"}, false},
		{"larger than the buffer", "--b\r\n\r\n" + large + "\r\n--b\r\n\r\n" + large + "\r\n--b--", []string{large, large}, false},
		{"no part", "--b--", nil, false},
		{"no delimiter", "body", nil, true},
		{"empty", "", nil, true},
		{"cut in the body", "--b\r\n\r\n1\r\n--b\r\n\r\n2", []string{"1"}, true},
		{"cut in the delimiter", "--b\r\n\r\n1\r\n--b", nil, true},
		{"cut in the header", "--b\r\nA:", nil, true},
		{"long preamble", strings.Repeat("x", 70<<10) + "\r\n--b--", nil, true},
		{"long header", "--b\r\nA: " + strings.Repeat("x", 9<<10) + "\r\n\r\n1\r\n--b--", nil, true},
		{"endless padding", "--b" + strings.Repeat(" ", 200<<10) + "\r\n\r\n--b--", nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			for how, body := range map[string]io.Reader{
				"at once":        strings.NewReader(c.body),
				"byte by byte":   iotest.OneByteReader(strings.NewReader(c.body)),
				"error with end": iotest.DataErrReader(strings.NewReader(c.body)),
			} {
				got, err := readAll(t, body, "b", room)
				if strings.Join(got, "|") != strings.Join(c.want, "|") || len(got) != len(c.want) {
					t.Fatalf("%s: %d parts, want %d", how, len(got), len(c.want))
				}
				if c.malformed != errors.Is(err, storage.ErrInvalid) || err != nil && !c.malformed {
					t.Fatalf("%s: %v, want malformed %t", how, err, c.malformed)
				}
			}
		})
	}
}

// TestMultipartReaderSkips: what is not read of a part is passed over.
func TestMultipartReaderSkips(t *testing.T) {
	body := "--b\r\n\r\n" + strings.Repeat("x", 300<<10) + "\r\n--b\r\nName: second\r\n\r\n2\r\n--b--"
	m, err := newMultipartReader(strings.NewReader(body), make([]byte, bufferSize), "b", 8<<10)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "second"} {
		h, err := m.Next()
		if err != nil || h.Get("Name") != name {
			t.Fatalf("%v %v, want %q", h, err, name)
		}
	}
}

func TestMultipartReaderPassesErrorsOn(t *testing.T) {
	broken := errors.New("connection reset")
	_, err := readAll(t, io.MultiReader(strings.NewReader("--b\r\n\r\nxyz"), iotest.ErrReader(broken)), "b", 16<<10)
	if !errors.Is(err, broken) || errors.Is(err, storage.ErrInvalid) {
		t.Fatalf("error %v", err)
	}
}

// FuzzSTOW compares the reader with the standard library's: whatever that one
// understands, ours reads the same, and nothing makes it panic or hang.
func FuzzSTOW(f *testing.F) {
	for _, seed := range []string{
		"--b\r\nContent-Type: application/dicom\r\n\r\nDICM\r\n--b--\r\n", "--b\r\n\r\n--b--", "x\r\n--b\r\n\r\n\r\n\r\n--b \r\n\r\n--b--",
		"--b\r\nA: b\r\n c\r\n\r\n1\r\n--b-\r\n--b--", "--b\r\n\r\n\x00\x00\r\n--bb\r\n--b--",
		"--b\r\n\r\n1\r\n--b .\r\n--b--", "--b\r\n\r\n--bb\r\nbb\r\n--b--", "--b\r\n\r\n1\r\n--b\r\n\r\n" + strings.Repeat("x", 100) + "\r\n--b--",
	} {
		for _, past := range []bool{false, true} {
			f.Add(seed, "b", 7, past)
			f.Add(seed, "b", 4096, past)
		}
	}
	f.Fuzz(func(t *testing.T, body, boundary string, chunk int, past bool) {
		chunk = max(1, chunk&0xFFFF)
		// The standard library also takes bare line feeds, and ends a part at
		// a border behind which a bare carriage return stands: nothing to
		// compare.
		lines := strings.Count(body, "\r\n")
		bare := strings.Count(body, "\n") != lines || strings.Count(body, "\r") != lines
		room := 512
		if past {
			room = 16 << 10
		}
		ours, err := readAll(t, chunked{strings.NewReader(body), chunk}, boundary, room)
		if err != nil || bare || closedAndMore(body, boundary) {
			return
		}
		std := multipart.NewReader(strings.NewReader(body), boundary)
		var theirs []byte
		for i := 0; ; i++ {
			p, err := std.NextRawPart()
			end := errors.Is(err, io.EOF)
			if err != nil && !end {
				return // stricter than ours about headers, line ends, and the border at which it ended the part before
			}
			if i > 0 && (i > len(ours) || string(theirs) != ours[i-1]) {
				t.Fatalf("part %d of %q: the standard library reads %q, ours %q", i-1, body, theirs, ours)
			}
			if end {
				if i != len(ours) {
					t.Fatalf("%d parts of %q, the standard library reads %d", len(ours), body, i)
				}
				return
			}
			if theirs, err = io.ReadAll(p); err != nil {
				return
			}
		}
	})
}

// closedAndMore tells whether more stands in the line of a close delimiter,
// which is one for ours (RFC 2046 §5.1.1), and text for the standard library.
func closedAndMore(body, boundary string) bool {
	for {
		_, after, ok := strings.Cut(body, "--"+boundary+"--")
		if !ok {
			return false
		}
		if line, _, _ := strings.Cut(after, "\r\n"); strings.Trim(line, " \t") != "" {
			return true
		}
		body = after
	}
}

type chunked struct {
	io.Reader
	most int
}

func (c chunked) Read(p []byte) (int, error) { return c.Reader.Read(p[:min(len(p), c.most)]) }

func BenchmarkMultipartReader(b *testing.B) {
	one := "--border-of-usual-length-0123456789\r\nContent-Type: application/dicom\r\n\r\n" + strings.Repeat("0123456\r", 64<<10) + "\r\n"
	body := []byte(strings.Repeat(one, 100) + "--border-of-usual-length-0123456789--")
	buf, p := make([]byte, bufferSize), make([]byte, bufferSize)
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		m, err := newMultipartReader(bytes.NewReader(body), buf, "border-of-usual-length-0123456789", 8<<10)
		for err == nil {
			if _, err = m.Next(); err == nil {
				for err == nil {
					_, err = m.Read(p)
				}
				if errors.Is(err, io.EOF) {
					err = nil
				}
			}
		}
		if !errors.Is(err, io.EOF) {
			b.Fatal(err)
		}
	}
}
