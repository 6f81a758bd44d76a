package journal

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/esante-alsace/cigogne/storage"
)

// Append collects one payload. Either Commit or Abort must be called, and
// one goroutine uses it.
type Append struct {
	j    *Journal
	ctx  context.Context
	buf  buffer
	crc  uint32
	size int64
	big  *large // where the bytes go that passed InlineBytes
	// early is what was written of the body already, or nil.
	early *early
	ended bool  // it is not counted in Journal.appends any more
	err   error // the first; nothing is written after it
}

// NewAppend begins an entry. It is cheap and waits for nothing; ctx bounds
// the waiting in Commit.
func (j *Journal) NewAppend(ctx context.Context) *Append {
	a := &Append{j: j, ctx: ctx, buf: buffer{pool: j.pool}}
	j.appends.Add(1)
	if j.o.ReadOnly {
		a.err = errReadOnly
	}
	return a
}

// Open tells how many Appends are open now, this one included.
func (a *Append) Open() int { return int(a.j.appends.Load()) }

// Room returns memory for the bytes that come next, of at least one: what is
// read into it need not be copied. The first of them become part of the payload
// by Take, before anything else is asked of the Append.
func (a *Append) Room() []byte { return a.buf.room() }

// Take makes the first n bytes of Room part of the payload. They may not be
// looked at any more. Errors are those of Write.
func (a *Append) Take(n int) error {
	if a.err != nil {
		return a.err
	}
	a.crc = crc32.Update(a.crc, castagnoli(), a.buf.take(n))
	a.size += int64(n)
	if a.buf.size > a.j.o.InlineBytes {
		a.err = a.spill()
	} else if a.big == nil {
		a.writeEarly()
	}
	return a.err
}

// Write adds bytes to the payload. Errors wrap storage.ErrFull when space ran
// out and storage.ErrUnavailable when the disk failed; every Write, Take and
// Commit after one fails with it.
func (a *Append) Write(p []byte) (int, error) {
	if a.err != nil {
		return 0, a.err
	}
	for n := 0; n < len(p); {
		m := copy(a.Room(), p[n:])
		if err := a.Take(m); err != nil {
			return n, err
		}
		n += m
	}
	return len(p), nil
}

// Share returns what was written so far, in pieces, to be read beside what is
// done to the entry: they stay as they are until release is called, also after
// Commit and Abort. Memory is given back only then. A payload that has passed
// InlineBytes is not in memory any more: storage.ErrTooLarge.
func (a *Append) Share() (pieces [][]byte, release func(), err error) {
	if a.big != nil {
		return nil, nil, fmt.Errorf("%w: a journal entry of %d bytes is not held in memory", storage.ErrTooLarge, a.size)
	}
	pieces, release = a.buf.share()
	return pieces, release, nil
}

// spill moves what is buffered to the large file.
func (a *Append) spill() (err error) {
	if a.big == nil {
		a.stopEarly()
		if a.big, err = a.j.newLarge(); err != nil {
			return err
		}
	}
	if err := a.big.write(&a.buf); err != nil {
		return err
	}
	a.buf.release()
	return nil
}

// Commit gives the entry its place: the payload is prefix and after it what
// was written. prefix may be empty; header is kept with the entry and
// returned with it, and must not be changed any more; value rides to
// Options.Durable. header and prefix are at most MaxHeaderBytes long; prefix is
// not used after Commit returns. The entry is not durable before Wait says so. Commit waits while MaxPending
// entries are pending. Errors are those of Write, ErrClosed, or ctx's; after
// one nothing of the entry is left.
func (a *Append) Commit(prefix, header []byte, value any) (*Pending, error) {
	if a.err == nil && max(len(prefix), len(header)) > MaxHeaderBytes {
		a.err = fmt.Errorf("%w: a journal entry's header has %d bytes and its prefix %d, of at most %d",
			storage.ErrTooLarge, len(header), len(prefix), MaxHeaderBytes)
	}
	if a.err == nil && a.big != nil {
		a.err = a.finishLarge()
	}
	if a.err == nil {
		select {
		case a.j.slots <- struct{}{}:
		case <-a.ctx.Done():
			a.err = a.ctx.Err()
		}
	}
	if a.err != nil {
		err := a.err
		a.Abort()
		return nil, err
	}
	p, err := a.j.append(a, prefix, header, value)
	if err != nil {
		<-a.j.slots
		a.Abort()
		return nil, err
	}
	a.buf.release()
	a.end()
	a.big, a.early, a.err = nil, nil, errDone
	return p, nil
}

// end counts the entry as one that is not open.
func (a *Append) end() {
	if !a.ended {
		a.ended = true
		a.j.appends.Add(-1)
	}
}

// stopEarly gives up what was written early.
func (a *Append) stopEarly() {
	if a.early != nil {
		a.early.end()
		a.early = nil
	}
}

var errDone = errors.New("journal: the entry was committed or aborted before")

func (a *Append) finishLarge() error {
	if a.buf.size > 0 {
		if err := a.spill(); err != nil {
			return err
		}
	}
	if err := a.big.finish(); err != nil {
		return err
	}
	if a.j.o.Ahead != nil {
		a.j.o.Ahead(a.ctx, LargeFile{ID: a.big.id, Size: a.big.size, Open: func() (io.ReadCloser, error) {
			return a.j.openLarge(a.big.id, a.big.size)
		}})
	}
	return nil
}

// Abort drops the entry and what was written of it. After Commit, and after
// another Abort, it does nothing.
func (a *Append) Abort() {
	a.stopEarly()
	a.end()
	a.buf.release()
	if a.big != nil {
		a.big.discard()
		a.big = nil
	}
	if a.err == nil {
		a.err = errDone
	}
}

// Pending is an entry that has its place and is not durable yet.
type Pending struct {
	entry Entry
	big   *large // whose file is to be deleted when the entry is lost
	done  chan struct{}
	err   error // read after done is closed
}

// Wait returns when the entry is durable, or with the error because of which
// it is not and will not be. When ctx ends before, the entry may become
// durable all the same.
func (p *Pending) Wait(ctx context.Context) (Entry, error) {
	select {
	case <-p.done:
		return p.entry, p.err
	default:
	}
	select {
	case <-p.done:
		return p.entry, p.err
	case <-ctx.Done():
		return Entry{}, ctx.Err()
	}
}

// append writes the record at the end of the active segment.
func (j *Journal) append(a *Append, prefix, header []byte, value any) (*Pending, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return nil, ErrClosed
	}
	if err := j.activate(); err != nil {
		j.failed = err
		return nil, err
	}
	s := j.active
	lead := int64(recordHeaderSize + len(header) + len(prefix))
	written, gap := s.place(a.early, lead)
	rec := record{
		offset: s.end, durable: s.durable,
		headerLen: uint32(len(header)), prefixLen: uint32(len(prefix)),
		bodyLen: a.size, bodyCRC: a.crc, gap: gap,
		header: header, prefix: prefix,
	}
	if a.big != nil {
		rec.large = a.big.id
	}
	if err := j.reserve(rec.length()); err != nil {
		j.failed = err
		return nil, err
	}
	before := [][]byte{rec.encode(s.salt), header, prefix, j.zeros[:gap]}
	if err := s.write(&rec, before, &a.buf, written, j.o); err != nil {
		j.failed = diskError("writing to the journal", err)
		return nil, j.failed
	}
	p := &Pending{
		entry: Entry{
			Position: Position{Segment: s.number, Offset: rec.offset},
			Header:   header, Size: rec.size(), Value: value,
		},
		big: a.big, done: make(chan struct{}),
	}
	if a.big == nil {
		j.lead = lead
	}
	j.pending = append(j.pending, p)
	j.changes()
	j.poke()
	return p, nil
}
