package copies_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/consensus/copies"
	"github.com/esante-alsace/cigogne/consensus/peer"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/journal"
)

// library is nodes that read each other's journals over real peer ports.
type library struct {
	*nodes
	options map[string]copies.ReaderOptions
	readers map[string]*copies.Reader
	spoil   map[string]func(http.ResponseWriter) http.ResponseWriter // what goes wrong with a node's answers
}

func newLibrary(t *testing.T) *library {
	l := &library{nodes: newNodes(t, 3), options: map[string]copies.ReaderOptions{}, readers: map[string]*copies.Reader{}, spoil: map[string]func(http.ResponseWriter) http.ResponseWriter{}}
	dir := t.TempDir()
	a, err := peer.OpenAuthority(filepath.Join(dir, "ca"))
	if err != nil {
		t.Fatal(err)
	}
	addrs := map[string]string{}
	var mu sync.Mutex
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var serving sync.WaitGroup
	t.Cleanup(func() { cancel(); serving.Wait() })
	for id, n := range l.all {
		if err := a.Issue(filepath.Join(dir, id), peer.Identity{Role: peer.RoleNode, Name: id}, time.Hour); err != nil {
			t.Fatal(err)
		}
		credentials, err := peer.Load(filepath.Join(dir, id))
		if err != nil {
			t.Fatal(err)
		}
		port, err := peer.Listen(ctx, peer.PortOptions{Addr: "127.0.0.1:0", Credentials: credentials})
		if err != nil {
			t.Fatal(err)
		}
		dialer := peer.NewDialer(credentials, nil)
		t.Cleanup(dialer.Close)
		mu.Lock()
		addrs[id] = port.Addr().String()
		mu.Unlock()
		l.options[id] = copies.ReaderOptions{
			Own: n.journal, Holder: n.holder,
			Nodes: func(context.Context, string) []string { return l.others(id) },
			Client: func(to string) (*http.Client, error) {
				mu.Lock()
				defer mu.Unlock()
				return dialer.Client(peer.Node{ID: to, Addr: addrs[to]}), nil
			},
		}
		l.readers[id] = copies.NewReader(l.options[id])
		h := l.readers[id].Handler()
		port.HandleHTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if f := l.spoil[id]; f != nil {
				w = f(w)
			}
			h.ServeHTTP(w, r)
		}))
		serving.Go(func() { _ = port.Serve(ctx) })
	}
	return l
}

func (l *library) read(node string, at index.Position, part storage.Range) ([]byte, error) {
	r, err := l.readers[node].Read(l.t.Context(), at, part)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// TestReadAnywhere: an entry is read on the node that wrote it, on the one that
// holds the copy, and on the third, which has neither.
func TestReadAnywhere(t *testing.T) {
	l := newLibrary(t)
	n := l.all["n1"]
	for _, size := range []int{0, 1, 3000, 400_000} {
		body := random(size)
		at, err := n.put(body)
		if err != nil {
			t.Fatal(err)
		}
		pos := index.Position{Journal: index.JournalID(n.journal.ID()), Segment: at.Segment, Offset: at.Offset}
		want := append([]byte("prefix"), body...)
		for _, node := range []string{"n1", "n2", "n3"} {
			e, err := l.readers[node].Header(t.Context(), pos)
			if err != nil || e.Size != int64(len(want)) || !bytes.Equal(e.Header, body[:min(8, len(body))]) || e.Position != at {
				t.Errorf("%s: header %+v, %v", node, e, err)
			}
			length := int64(len(want))
			for _, part := range []storage.Range{{Length: length}, {Offset: length / 3, Length: length / 2}, {Offset: length}} {
				got, err := l.read(node, pos, part)
				if err != nil || !bytes.Equal(got, want[part.Offset:part.End()]) {
					t.Errorf("%s: range %+v of %d: %d bytes, %v", node, part, length, len(got), err)
				}
			}
			if _, err := l.read(node, pos, storage.Range{Length: length + 1}); !errors.Is(err, storage.ErrInvalid) {
				t.Errorf("%s: a range that is too long: %v", node, err)
			}
			pos := pos
			pos.Segment = 99
			if _, err := l.read(node, pos, storage.Range{}); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("%s: what is not there: %v", node, err)
			}
		}
	}
	l.all["n1"].stop()
	if _, err := l.readers["n3"].Header(t.Context(), index.Position{Journal: "beef"}); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("a journal that nobody has: %v", err)
	}
}

// TestReadsAreBounded: what is read from one node at a time is bounded, until
// it is closed, read or not.
func TestReadsAreBounded(t *testing.T) {
	l := newLibrary(t)
	n := l.all["n1"]
	at, err := n.put(random(400_000))
	if err != nil {
		t.Fatal(err)
	}
	pos := index.Position{Journal: index.JournalID(n.journal.ID()), Segment: at.Segment, Offset: at.Offset}
	o := l.options["n3"]
	o.AtOnce, o.Nodes = 2, func(context.Context, string) []string { return []string{"n1"} }
	l.readers["n3"] = copies.NewReader(o)
	whole := storage.Range{Length: 400_006}
	var open []io.Closer
	for range 2 {
		body, err := l.readers["n3"].Read(t.Context(), pos, whole)
		if err != nil {
			t.Fatal(err)
		}
		defer body.Close()
		open = append(open, body)
	}
	soon, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if body, err := l.readers["n3"].Read(soon, pos, whole); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a third is read beside two: %v, %v", body, err)
	}
	open[0].Close()
	if got, err := l.read("n3", pos, whole); err != nil || int64(len(got)) != whole.Length {
		t.Errorf("when one was closed: %d bytes, %v", len(got), err)
	}
}

// spoiled changes an answer's bytes, or ends it after some.
type spoiled struct {
	http.ResponseWriter
	flip  bool
	after int
}

func (s *spoiled) Write(p []byte) (int, error) {
	if s.flip && len(p) > 0 {
		p = slices.Clone(p)
		p[len(p)-1] ^= 1
	} else if !s.flip {
		if s.after -= len(p); s.after < 0 {
			return 0, errors.New("it broke")
		}
	}
	return s.ResponseWriter.Write(p)
}

// TestReadGoesOn: when a node fails in the middle the next goes on, and bytes
// that were changed on the way are no answer.
func TestReadGoesOn(t *testing.T) {
	l := newLibrary(t)
	n := l.all["n1"]
	body := random(900_000)
	at, err := n.put(body)
	if err != nil {
		t.Fatal(err)
	}
	pos := index.Position{Journal: index.JournalID(n.journal.ID()), Segment: at.Segment, Offset: at.Offset}
	breaks := func(w http.ResponseWriter) http.ResponseWriter { return &spoiled{ResponseWriter: w, after: 300_000} }
	l.spoil["n1"] = breaks
	got, err := l.read("n3", pos, storage.Range{Offset: 6, Length: int64(len(body))})
	if err != nil || !bytes.Equal(got, body) {
		t.Errorf("one of two breaks: %d bytes, %v", len(got), err)
	}
	l.spoil["n2"] = breaks
	if got, err = l.read("n3", pos, storage.Range{Length: int64(len(body))}); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("both break: %d bytes, %v", len(got), err)
	}
	delete(l.spoil, "n2")
	l.spoil["n1"] = func(w http.ResponseWriter) http.ResponseWriter { return &spoiled{ResponseWriter: w, flip: true} }
	if _, err = l.read("n3", pos, storage.Range{Length: 1000}); !errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("a flipped bit: %v", err)
	}
	// Who reads an image is told, and needs not know where it lies. It is a node's
	// certificate that is refused, never who reads.
	for _, why := range []error{syscall.EHOSTUNREACH, fmt.Errorf("%w: not a certificate of this cluster", storage.ErrForbidden)} {
		o := l.options["n3"]
		o.Client = func(string) (*http.Client, error) { return &http.Client{Transport: unreachable{why}}, nil }
		_, err := copies.NewReader(o).Read(t.Context(), pos, storage.Range{Length: 1000})
		if !errors.Is(err, storage.ErrUnavailable) || errors.Is(err, storage.ErrForbidden) || strings.Contains(err.Error(), copies.Path) {
			t.Errorf("nobody is reached: %v", err)
		}
	}
}

type unreachable struct{ why error }

func (u unreachable) RoundTrip(*http.Request) (*http.Response, error) { return nil, u.why }

// TestReadAround: what rotted in a node's own journal comes from the copy.
func TestReadAround(t *testing.T) {
	l := newLibrary(t)
	n := l.all["n1"]
	for _, size := range []int{3000, 100_000} { // in a segment, and in a file of its own
		body := random(size)
		at, err := n.put(body)
		if err != nil {
			t.Fatal(err)
		}
		pos := index.Position{Journal: index.JournalID(n.journal.ID()), Segment: at.Segment, Offset: at.Offset}
		rotten := 0
		err = filepath.WalkDir(filepath.Join(n.dir, "journal"), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			b, err := os.ReadFile(path)
			if i := bytes.Index(b, body); err == nil && i >= 0 {
				rotten++
				err = flip(path, int64(i+size/2))
			}
			return err
		})
		if err != nil || rotten != 1 {
			t.Fatalf("it lies in %d files, %v", rotten, err)
		}
		got, err := l.read("n1", pos, storage.Range{Offset: 6, Length: int64(size)})
		if err != nil || !bytes.Equal(got, body) {
			t.Errorf("%d bytes, of which one rotted: %v", size, err)
		}
	}
}

// TestHeaderAround: metadata and layout of an instance whose record's header
// rotted in its own journal come from the copy, as its bytes do.
func TestHeaderAround(t *testing.T) {
	l := newLibrary(t)
	n := l.all["n1"]
	body := random(3000)
	at, err := n.put(body)
	if err != nil {
		t.Fatal(err)
	}
	pos := index.Position{Journal: index.JournalID(n.journal.ID()), Segment: at.Segment, Offset: at.Offset}
	read := func(when string) {
		t.Helper()
		if e, err := l.readers["n1"].Header(t.Context(), pos); err != nil || !bytes.Equal(e.Header, body[:8]) || e.Position != at {
			t.Errorf("%s: header %+v, %v", when, e, err)
		}
		if got, err := l.read("n1", pos, storage.Range{Offset: 6, Length: 3000}); err != nil || !bytes.Equal(got, body) {
			t.Errorf("%s: %d bytes, %v", when, len(got), err)
		}
	}
	own := l.readers["n1"]
	o := l.options["n1"]
	o.Own = badDisk{n.journal}
	l.readers["n1"] = copies.NewReader(o)
	read("a disk that does not read")
	l.readers["n1"] = own
	err = filepath.WalkDir(filepath.Join(n.dir, "journal"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if i := bytes.Index(b, body); err == nil && i >= 0 {
			err = flip(path, int64(i)-2) // in the prefix: under the record header's checksum
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.journal.Header(t.Context(), at); !errors.Is(err, storage.ErrCorrupt) {
		t.Fatalf("the header did not rot: %v", err)
	}
	read("a rotten header")
	o.Own, o.Nodes = n.journal, func(context.Context, string) []string { return nil }
	if _, err := copies.NewReader(o).Header(t.Context(), pos); !errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("without a copy: %v", err)
	}
}

// badDisk is a journal on a disk that reads nothing.
type badDisk struct{ copies.Store }

func (badDisk) Header(context.Context, journal.Position) (journal.Entry, error) {
	return journal.Entry{}, syscall.EIO
}

func (badDisk) Read(context.Context, journal.Position, storage.Range) (io.ReadCloser, error) {
	return nil, syscall.EIO
}

func flip(path string, at int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	b := make([]byte, 1)
	if _, err = f.ReadAt(b, at); err == nil {
		_, err = f.WriteAt([]byte{b[0] ^ 1}, at)
	}
	return errors.Join(err, f.Close())
}
