package journal_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/journal"
)

// world is what should be in a journal, whatever happened to it.
type world struct {
	mu      sync.Mutex
	nextID  uint64
	acked   map[uint64]journal.Position
	removed map[uint64]bool // segments whose removal was asked for
	last    journal.Position
	options func(*memFS) journal.Options
	longer  int // so many times as long are the bodies
}

func newWorld() *world {
	return &world{acked: map[uint64]journal.Position{}, removed: map[uint64]bool{}, options: memOptions, longer: 1}
}

// content is what entry id consists of: all of it follows from the id.
func (w *world) content(id uint64) (prefix, header, body []byte) {
	rnd := rand.New(rand.NewPCG(id, 7))
	prefix = make([]byte, rnd.IntN(3)*50)
	body = make([]byte, rnd.IntN(2000*w.longer))
	for i := range prefix {
		prefix[i] = byte(rnd.Uint32())
	}
	for i := range body {
		body[i] = byte(rnd.Uint32())
	}
	header = binary.BigEndian.AppendUint64(nil, id)
	return prefix, append(header, strings.Repeat("h", rnd.IntN(90))...), body
}

// put appends an entry and remembers it if, and only if, it was acknowledged.
func (w *world) put(ctx context.Context, j *journal.Journal) error {
	w.mu.Lock()
	w.nextID++
	id := w.nextID
	w.mu.Unlock()
	prefix, header, body := w.content(id)
	a := j.NewAppend(ctx)
	for part := range slices.Chunk(body, 3000) {
		if _, err := a.Write(part); err != nil {
			a.Abort()
			return err
		}
		runtime.Gosched() // others come in between
	}
	p, err := a.Commit(prefix, header, nil)
	if err != nil {
		return err
	}
	e, err := p.Wait(ctx)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.acked[id] = e.Position
	if e.Position.Compare(w.last) > 0 {
		w.last = e.Position
	}
	return nil
}

// check compares a journal that was opened anew with what was acknowledged.
func (w *world) check(t *testing.T, j *journal.Journal, disk *memFS) {
	t.Helper()
	there := map[uint64]journal.Position{}
	var previous journal.Position
	for _, e := range replay(t, j, journal.Position{}) {
		id := binary.BigEndian.Uint64(e.Header)
		prefix, header, body := w.content(id)
		if id > w.nextID || !bytes.Equal(header, e.Header) {
			t.Errorf("entry %s was never appended", e.Position)
			continue
		}
		got := get(t, j, e.Position, storage.Range{Length: e.Size})
		if !bytes.Equal(got, append(prefix, body...)) {
			t.Errorf("entry %s (%d) is half there", e.Position, id)
		}
		if e.Position.Compare(previous) <= 0 {
			t.Errorf("entry %s comes after %s", e.Position, previous)
		}
		previous = e.Position
		there[id] = e.Position
	}
	for id, at := range w.acked {
		if got, ok := there[id]; ok && got != at {
			t.Errorf("entry %d was acknowledged at %s and is at %s", id, at, got)
		} else if !ok && !w.removed[at.Segment] {
			t.Errorf("entry %d, acknowledged at %s, is lost", id, at)
		}
	}
	err := j.Verify(t.Context(), func(e journal.Entry, err error) error {
		if err != nil {
			t.Errorf("verify: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	w.checkFiles(t, j, disk)
	for _, s := range j.Segments() { // what was not acknowledged may be there, too
		if s.Last.Compare(w.last) > 0 {
			w.last = s.Last
		}
		if !s.Sealed && s.Number <= w.last.Segment {
			t.Errorf("segment %d is used again: %s was there", s.Number, w.last)
		}
	}
}

// checkFiles counts the large files: neither one too many nor too few.
func (w *world) checkFiles(t *testing.T, j *journal.Journal, disk *memFS) {
	t.Helper()
	large, _ := disk.ReadDir(filepath.Join("j", "large"))
	var inFiles, want int64
	for _, n := range large {
		inFiles += n
	}
	segments, _ := disk.ReadDir("j")
	for name, n := range segments {
		if strings.HasSuffix(name, ".segment") {
			inFiles += n
		}
	}
	for _, s := range j.Segments() {
		want += s.Bytes
	}
	if inFiles != want || j.Stats().Bytes != want {
		t.Errorf("%d bytes on the disk, %d in segments, %d in Stats", inFiles, want, j.Stats().Bytes)
	}
}

func memOptions(disk *memFS) journal.Options {
	return journal.Options{
		Dir: "j", FS: disk, SegmentBytes: 8 << 10, InlineBytes: 1000,
		Logger: slog.New(slog.DiscardHandler),
	}
}

// live lets senders push into a journal until the power goes, or for a while.
func (w *world) live(ctx context.Context, j *journal.Journal, seed uint64, senders int) {
	var wg sync.WaitGroup
	for i := range senders {
		rnd := rand.New(rand.NewPCG(seed, uint64(i)))
		wg.Go(func() {
			for range 20 {
				var err error
				switch rnd.IntN(12) {
				case 0:
					err = j.Seal(ctx)
				case 1:
					err = w.removeOne(ctx, j)
				default:
					err = w.put(ctx, j)
				}
				if err != nil {
					return
				}
			}
		})
	}
	wg.Wait()
}

func (w *world) removeOne(ctx context.Context, j *journal.Journal) error {
	for _, s := range j.Segments() {
		if s.Sealed {
			w.mu.Lock()
			w.removed[s.Number] = true
			w.mu.Unlock()
			return j.Remove(ctx, s.Number)
		}
	}
	return nil
}

// lives lets a journal live through several power cuts. It returns how often
// something was written before it had a place.
func (w *world) lives(t *testing.T, seed uint64, senders int, crashAt func(life int) int) (early int) {
	disk := newMemFS(seed)
	for life := range 4 {
		disk.crashAt = 0
		j, err := journal.Open(t.Context(), w.options(disk))
		if err != nil {
			t.Fatalf("life %d: %v", life, err)
		}
		w.check(t, j, disk)
		disk.mu.Lock()
		if n := crashAt(life); n > 0 {
			disk.crashAt = disk.ops + n
		}
		disk.mu.Unlock()
		w.live(t.Context(), j, seed+uint64(life), senders)
		disk.mu.Lock()
		disk.dead = true // nothing more reaches the disk
		early += disk.early
		disk.mu.Unlock()
		_ = j.Close()
		disk = disk.reboot()
		// The power may go again while Open repairs.
		disk.crashAt = disk.rnd.IntN(6)
		if j, err := journal.Open(t.Context(), w.options(disk)); err == nil {
			_ = j.Close()
		}
		disk = disk.reboot()
	}
	j, err := journal.Open(t.Context(), w.options(disk))
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	w.check(t, j, disk)
	return early
}

func TestPowerLossAtEveryOperation(t *testing.T) {
	for at := 1; at <= 120; at++ {
		for seed := range uint64(3) {
			t.Run(fmt.Sprintf("operation %d seed %d", at, seed), func(t *testing.T) {
				newWorld().lives(t, seed, 1, func(life int) int {
					if life == 1 {
						return at
					}
					return 0
				})
			})
		}
	}
}

// fewer is how many random lives are tried of so many: with -short, which looks
// for races, a quarter of them.
func fewer(n uint64) uint64 {
	if testing.Short() {
		return n / 4
	}
	return n
}

func TestPowerLossWhileManyAppend(t *testing.T) {
	base := rand.Uint64()
	for i := range fewer(300) {
		seed := base + i
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 3))
			newWorld().lives(t, seed, 1+rnd.IntN(4), func(int) int { return 1 + rnd.IntN(250) })
		})
	}
}
