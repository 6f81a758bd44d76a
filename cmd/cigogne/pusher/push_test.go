package pusher_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"mime/multipart"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/cmd/cigogne/client"
	"github.com/esante-alsace/cigogne/cmd/cigogne/progress"
	"github.com/esante-alsace/cigogne/cmd/cigogne/pusher"
	"github.com/esante-alsace/cigogne/gateway/dicomweb"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// fake is a gateway that keeps digests, and fails as it is told.
type fake struct {
	mu       sync.Mutex
	requests int
	// sent counts how often the Data Set with a digest came, held are those
	// that are durable.
	sent map[storage.Digest]int
	held map[storage.Digest]bool
	// has is what Digests tells.
	has []dicomweb.DigestOf
	// fail, when set, is asked before a request is read, and refuse for each
	// part; mangle changes what is stored.
	fail   func(request int) error
	refuse func(file []byte) (client.Receipt, bool)
	mangle func(storage.Digest) storage.Digest
}

func (f *fake) Digests(context.Context, string) (dicomweb.Digests, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.has == nil {
		return dicomweb.Digests{}, storage.ErrNotFound
	}
	return dicomweb.Digests{Instances: f.has}, nil
}

func (f *fake) Store(_ context.Context, boundary string, body io.ReadCloser) (client.Receipts, error) {
	defer body.Close()
	f.mu.Lock()
	f.requests++
	n := f.requests
	f.mu.Unlock()
	if f.fail != nil {
		if err := f.fail(n); err != nil {
			return nil, err
		}
	}
	receipts := client.Receipts{}
	r := multipart.NewReader(body, boundary)
	for i := 0; ; i++ {
		p, err := r.NextPart()
		if errors.Is(err, io.EOF) {
			return receipts, nil
		}
		if err != nil {
			return receipts, errors.Join(storage.ErrUnavailable, err)
		}
		file, err := io.ReadAll(p)
		if err != nil {
			return receipts, errors.Join(storage.ErrUnavailable, err)
		}
		receipts[i] = f.keep(file)
	}
}

func (f *fake) keep(file []byte) client.Receipt {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := digestOf(file)
	f.sent[d]++
	if f.refuse != nil {
		if r, no := f.refuse(file); no {
			return r
		}
	}
	f.held[d] = true
	if f.mangle != nil {
		d = f.mangle(d)
	}
	return client.Receipt{Digest: d}
}

// prefix is what precedes the Data Set of dicomtest's files.
func prefix(file []byte) int {
	meta := bytes.Index(file, []byte{8, 0, 5, 0}) // SpecificCharacterSet
	if class := bytes.Index(file, []byte{8, 0, 0x16, 0, 'U', 'I'}); meta < 0 || class >= 0 && class < meta {
		return class
	}
	return meta
}

func digestOf(file []byte) storage.Digest { return storage.DigestOf(file[prefix(file):]) }

// folder holds a study as files, and what is no DICOM.
func folder(t *testing.T, n int) (dir string, study dicomtest.Study) {
	t.Helper()
	dir = t.TempDir()
	study = dicomtest.NewStudy(dicomtest.Options{Seed: 3100, Modality: "CR", Instances: n})
	for _, in := range study.Instances {
		write(t, filepath.Join(dir, "images", in.SOPInstanceUID), in.Part10())
	}
	write(t, filepath.Join(dir, "README.TXT"), []byte("a viewer for another system"))
	return dir, study
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, f *fake, o pusher.Options) (pusher.Outcome, string, error) {
	t.Helper()
	f.sent, f.held = map[storage.Digest]int{}, map[storage.Digest]bool{}
	var said bytes.Buffer
	o.Gateway, o.Work = f, progress.Start(progress.Options{Out: &said, Every: time.Hour})
	if o.Connections == 0 {
		o.Connections = 3
	}
	if o.RequestBytes == 0 {
		o.RequestBytes = 64 << 10
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	out, err := pusher.Run(ctx, o)
	o.Work.End()
	return out, said.String(), err
}

func TestPush(t *testing.T) {
	const n = 12
	broken := func(int) error { return errors.Join(storage.ErrUnavailable, errors.New("connection reset")) }
	for _, c := range []struct {
		name string
		fake *fake
		want pusher.Outcome
		once bool // each was sent once
		said string
	}{
		{"all is stored, once, and what is no DICOM is passed over", &fake{}, pusher.Outcome{Stored: n, Ignored: 1}, true, ""},
		{"a line that breaks three times", &fake{fail: func(request int) error {
			if request > 3 {
				return nil
			}
			return broken(request)
		}}, pusher.Outcome{Stored: n, Ignored: 1}, true, "tried again"},
		{"a gateway that is full for a moment", &fake{fail: func(request int) error {
			if request > 2 {
				return nil
			}
			return &client.Refusal{Status: 503}
		}}, pusher.Outcome{Stored: n, Ignored: 1}, true, "tried again"},
		{"refused for what they are", &fake{refuse: func([]byte) (client.Receipt, bool) {
			return client.Receipt{Refused: "invalid: so it is"}, true
		}}, pusher.Outcome{Refused: n, Ignored: 1}, true, "invalid: so it is"},
		{"other bytes are durable than were sent", &fake{mangle: func(d storage.Digest) storage.Digest {
			d[0]++
			return d
		}}, pusher.Outcome{Refused: n, Ignored: 1}, false, "stored other bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir, study := folder(t, n)
			out, said, err := run(t, c.fake, pusher.Options{Paths: []string{dir}, Patience: time.Minute})
			if err != nil || out != c.want {
				t.Errorf("%+v, %v, want %+v\n%s", out, err, c.want, said)
			}
			if !strings.Contains(said, c.said) {
				t.Errorf("%q is not in:\n%s", c.said, said)
			}
			for _, in := range study.Instances {
				switch sent := c.fake.sent[digestOf(in.Part10())]; {
				case sent == 0, c.once && sent != 1:
					t.Errorf("%s was sent %d times", in.SOPInstanceUID, sent)
				}
				if c.want.Refused > 0 && !strings.Contains(said, in.SOPInstanceUID) {
					t.Errorf("%s is not named:\n%s", in.SOPInstanceUID, said)
				}
			}
		})
	}
}

// TestSkips: what the gateway has is not sent, what it has under the same name
// with other bytes is.
func TestSkips(t *testing.T) {
	dir, study := folder(t, 4)
	f := &fake{has: []dicomweb.DigestOf{}}
	for i, in := range study.Instances[:3] {
		file := in.Part10()
		one := dicomweb.DigestOf{
			SeriesInstanceUID: in.SeriesInstanceUID, SOPInstanceUID: in.SOPInstanceUID,
			Size: int64(len(file)) - 10, Prefix: int64(prefix(file)) - 10, Digest: digestOf(file), // other File Meta Information
		}
		if i == 2 {
			one.Digest[0]++
		}
		f.has = append(f.has, one)
	}
	out, said, err := run(t, f, pusher.Options{Paths: []string{dir}})
	if want := (pusher.Outcome{Stored: 2, Present: 2, Ignored: 1}); err != nil || out != want {
		t.Errorf("%+v, %v, want %+v\n%s", out, err, want, said)
	}
	if len(f.sent) != 2 {
		t.Errorf("%d were sent", len(f.sent))
	}
}

// TestGivesUp: the error says why when nothing goes on, at once when trying
// again makes no sense, and what is left is counted.
func TestGivesUp(t *testing.T) {
	dir, _ := folder(t, 4)
	for _, c := range []struct{ fails, is error }{
		{errors.Join(storage.ErrUnavailable, errors.New("no route")), storage.ErrUnavailable},
		{&client.Refusal{Status: 403, Text: "not you"}, storage.ErrForbidden},
		{&client.Refusal{Status: 404}, storage.ErrNotFound},
	} {
		f := &fake{fail: func(int) error { return c.fails }}
		out, _, err := run(t, f, pusher.Options{Paths: []string{dir}, Patience: time.Millisecond})
		if !errors.Is(err, c.is) || out.Left == 0 || out.Stored != 0 {
			t.Errorf("%v: %v, %+v", c.fails, err, out)
		}
	}
}

// TestAFileThatBreaksRequests does not keep the others from being stored, and
// is named in the end.
func TestAFileThatBreaksRequests(t *testing.T) {
	dir, study := folder(t, 6)
	poison := study.Instances[3].Part10()
	f := &fake{}
	breaks := &breaking{fake: f, poison: digestOf(poison)}
	f.sent, f.held = map[storage.Digest]int{}, map[storage.Digest]bool{}
	work := progress.Start(progress.Options{Out: io.Discard})
	defer work.End()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	out, err := pusher.Run(ctx, pusher.Options{
		Gateway: breaks, Work: work, Paths: []string{dir}, Connections: 2, RequestBytes: 1 << 20, Patience: time.Minute,
	})
	if want := (pusher.Outcome{Stored: 5, Refused: 1, Ignored: 1}); err != nil || out != want {
		t.Errorf("%+v, %v, want %+v", out, err, want)
	}
}

// breaking is a gateway that answers nothing sensible when a file is among
// those that it gets.
type breaking struct {
	*fake
	poison storage.Digest
}

func (b *breaking) Store(ctx context.Context, boundary string, body io.ReadCloser) (client.Receipts, error) {
	b.mu.Lock()
	before := b.sent[b.poison]
	b.mu.Unlock()
	receipts, err := b.fake.Store(ctx, boundary, body)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sent[b.poison] > before {
		return nil, &client.Refusal{Status: 400, Text: "malformed"}
	}
	return receipts, err
}

// TestAFileThatGrows: a file that is being written while it is sent is never
// stored cut short.
func TestAFileThatGrows(t *testing.T) {
	dir, study := folder(t, 3)
	growing := filepath.Join(dir, "images", study.Instances[1].SOPInstanceUID)
	whole := study.Instances[1].Part10()
	f := &fake{}
	f.fail = func(request int) error {
		if request == 1 { // after it was found, before it is read
			write(t, growing, append(whole, 0, 0))
		}
		return nil
	}
	out, said, err := run(t, f, pusher.Options{Paths: []string{dir}, Connections: 1, RequestBytes: 1 << 20})
	if want := (pusher.Outcome{Stored: 2, Refused: 1, Ignored: 1}); err != nil || out != want {
		t.Errorf("%+v, %v, want %+v\n%s", out, err, want, said)
	}
	if f.held[digestOf(whole)] {
		t.Error("it was stored cut short")
	}
	if !strings.Contains(said, "changed while it was read") {
		t.Error(said)
	}
}

func TestWhatIsNamedMustBeThere(t *testing.T) {
	dir, study := folder(t, 1)
	none, text := filepath.Join(dir, "none"), filepath.Join(dir, "README.TXT")
	claims := filepath.Join(dir, "images", "cut.dcm")
	write(t, claims, study.Instances[0].Part10()[:150])
	out, said, err := run(t, &fake{}, pusher.Options{Paths: []string{none, text, filepath.Join(dir, "images")}})
	if want := (pusher.Outcome{Stored: 1, Refused: 3}); err != nil || out != want {
		t.Errorf("%+v, %v, want %+v\n%s", out, err, want, said)
	}
	for _, name := range []string{none, text, claims} {
		if !strings.Contains(said, "refused "+name+": ") {
			t.Errorf("%s is not named:\n%s", name, said)
		}
	}
}

// TestDICOMDIRStaysInItsFolder: a reference out of the folder is refused by
// name, whatever way it goes, and the others are sent.
func TestDICOMDIRStaysInItsFolder(t *testing.T) {
	dir := t.TempDir()
	study := dicomtest.NewStudy(dicomtest.Options{Seed: 3200, Modality: "CR", Instances: 3})
	media := filepath.Join(dir, "media")
	write(t, filepath.Join(media, "A", "I1"), study.Instances[0].Part10())
	write(t, filepath.Join(media, "a", "i2"), study.Instances[1].Part10()) // as a CD may be mounted
	secret := filepath.Join(dir, "SECRET")
	write(t, secret, study.Instances[2].Part10())
	if err := os.Symlink(secret, filepath.Join(media, "LINK")); err != nil {
		t.Fatal(err)
	}
	refs := map[string]bool{ // whether it is sent
		`A\I1`: true, `A\I2`: true,
		`..\SECRET`: false, `LINK`: false, `A\..\..\SECRET`: false, `NONE`: false, secret: false, `A\.\I1`: false,
	}
	write(t, filepath.Join(media, "DICOMDIR"), dicomdir(slices.Sorted(maps.Keys(refs))...))
	f := &fake{}
	out, said, err := run(t, f, pusher.Options{Paths: []string{filepath.Join(media, "DICOMDIR")}})
	if want := (pusher.Outcome{Stored: 2, Refused: 6}); err != nil || out != want {
		t.Errorf("%+v, %v, want %+v\n%s", out, err, want, said)
	}
	if f.held[digestOf(study.Instances[2].Part10())] {
		t.Error("a file outside of the folder was sent")
	}
}

// dicomdir is a media directory with a record for each file ID.
func dicomdir(ids ...string) []byte {
	var b dicomtest.Builder
	var records []func(*dicomtest.Builder)
	for _, id := range ids {
		records = append(records, func(b *dicomtest.Builder) {
			b.US(0x00041410, 0xFFFF).Text(0x00041430, "CS", "IMAGE").Text(0x00041500, "CS", id)
		})
	}
	b.Text(0x00041130, "CS", "TEST").Sequence(0x00041220, records...)
	return append(dicomtest.FileMeta("1.2.840.10008.1.3.10", "2.25.1", dicomtest.ExplicitLE), b.Bytes()...)
}
