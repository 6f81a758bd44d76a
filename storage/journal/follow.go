package journal

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/esante-alsace/cigogne/storage"
)

// pieceBytes is the most bytes of a segment that one Piece has.
const pieceBytes = 256 << 10

// PieceKind says what a Piece is.
type PieceKind uint8

// The kinds of pieces.
const (
	// PieceBytes are bytes of the segment at an offset.
	PieceBytes PieceKind = iota + 1
	// PieceLarge is a large file; it comes before the record that refers to it.
	PieceLarge
	// PieceEnd tells where the segment ends for good. What was given from
	// there on is to be cut: the disk lost it, and nobody was told that it is
	// safe.
	PieceEnd
)

// Piece is a part of what a copy of a segment is made of.
type Piece struct {
	Kind PieceKind
	// Offset is where Bytes lie, or where the segment ends.
	Offset int64
	// Bytes are good until the next call of Next.
	Bytes []byte
	// Large names the large file, Size is its length in bytes, and Body its
	// content, which the receiver of the Piece must close.
	Large uint64
	Size  int64
	Body  io.ReadCloser
}

// Follower gives a segment as it is written, from the page cache and before
// the fsync that makes it durable here: what waits for a copy need not wait
// for both in turn. One goroutine uses it, and Close must be called.
type Follower struct {
	j      *Journal
	number uint64
	salt   uint64
	file   File
	at     int64 // the next byte to give
	record int64 // where the next record begins whose header was not read
	ended  bool
	buf    []byte
	ahead  []byte // read, and not given yet: it begins at at
	large  *Piece // to be given before what is ahead
}

// Follow follows a segment from an offset: 0, or one at which a record begins
// or the segment ends. Errors wrap storage.ErrNotFound when there is no such
// segment, and storage.ErrCorrupt for one that is damaged: it cannot be copied
// byte for byte and be believed.
func (j *Journal) Follow(number uint64, from int64) (*Follower, error) {
	j.mu.Lock()
	s := j.find(number)
	var salt uint64
	damaged := false
	if s != nil {
		salt, damaged = s.salt, len(s.damage) > 0
	}
	j.mu.Unlock()
	switch {
	case s == nil || salt == 0 && !damaged: // it may be a mere number, without a segment
		return nil, fmt.Errorf("%w: journal segment %d", storage.ErrNotFound, number)
	case damaged:
		return nil, fmt.Errorf("%w: journal segment %d is damaged", storage.ErrCorrupt, number)
	case from != 0 && (from < segmentHeaderSize || from%recordAlign != 0):
		return nil, fmt.Errorf("%w: no record begins at offset %d", storage.ErrInvalid, from)
	}
	f, err := j.fs.Open(j.segmentPath(number))
	if err != nil {
		return nil, j.lost(Position{Segment: number}, err)
	}
	return &Follower{
		j: j, number: number, salt: salt, file: f, at: from, record: max(from, segmentHeaderSize),
		buf: make([]byte, pieceBytes),
	}, nil
}

// Close gives the file back.
func (f *Follower) Close() error { return f.file.Close() }

// Next waits for the next piece. After PieceEnd it is io.EOF. Errors wrap
// storage.ErrNotFound when the segment was removed, ErrClosed, or are ctx's.
func (f *Follower) Next(ctx context.Context) (Piece, error) {
	for {
		switch {
		case f.ended:
			return Piece{}, io.EOF
		case f.large != nil:
			p := *f.large
			f.large = nil
			return f.openLarge(p)
		case len(f.ahead) > 0:
			if p, err := f.give(); err != nil || len(p.Bytes) > 0 {
				return p, err
			}
			continue // a large file comes first
		}
		end, sealed, err := f.wait(ctx)
		if err != nil {
			return Piece{}, err
		}
		if f.at >= end && sealed {
			f.ended = true
			return Piece{Kind: PieceEnd, Offset: end}, nil
		}
		if err := f.read(end); err != nil {
			return Piece{}, err
		}
	}
}

// wait returns where the segment ends now: beyond what was given, or sealed.
func (f *Follower) wait(ctx context.Context) (end int64, sealed bool, err error) {
	for {
		f.j.mu.Lock()
		s := f.j.find(f.number)
		closed := f.j.closed
		if s != nil {
			end, sealed = s.end, s.sealed
		}
		changed := f.j.watch()
		f.j.mu.Unlock()
		switch {
		case s == nil:
			return 0, false, fmt.Errorf("%w: journal segment %d was removed", storage.ErrNotFound, f.number)
		case end > f.at || sealed:
			return end, sealed, nil
		case closed:
			return 0, false, ErrClosed
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, false, ctx.Err()
		}
	}
}

// read reads ahead up to an end. Nothing is ahead when the file was cut
// meanwhile.
func (f *Follower) read(end int64) error {
	b := f.buf[:min(int64(len(f.buf)), end-f.at)]
	n, err := f.file.ReadAt(b, f.at)
	if err != nil && !errors.Is(err, io.EOF) {
		return diskError("reading journal segment", err)
	}
	if n == len(b) {
		f.ahead = b
		return nil
	}
	f.j.mu.Lock()
	defer f.j.mu.Unlock()
	if s := f.j.find(f.number); s != nil && s.end >= end {
		return fmt.Errorf("%w: journal segment %d ends %d bytes early", storage.ErrCorrupt, f.number, len(b)-n)
	}
	return nil // it was cut or removed: see where it ends now
}

// give takes from what is ahead all up to the next record with a large file.
// It gives nothing when such a record comes first.
func (f *Follower) give() (Piece, error) {
	n := int64(len(f.ahead))
	for f.record < f.at+n {
		head := f.ahead[f.record-f.at:]
		if len(head) < recordHeaderSize {
			if n = f.record - f.at; n == 0 {
				return Piece{}, fmt.Errorf("%w: journal segment %d ends within a record", storage.ErrCorrupt, f.number)
			}
			break // its header comes with the next read
		}
		r, err := parseRecord(head, f.salt, f.record, maxSegment)
		if err != nil {
			return Piece{}, fmt.Errorf("journal segment %d, offset %d: %w", f.number, f.record, err)
		}
		if r.large != 0 {
			f.large = &Piece{Kind: PieceLarge, Large: r.large, Size: r.bodyLen}
			n = f.record - f.at
			f.record = r.end()
			break
		}
		f.record = r.end()
	}
	if n == 0 {
		return Piece{}, nil
	}
	p := Piece{Kind: PieceBytes, Offset: f.at, Bytes: f.ahead[:n]}
	f.at += n
	if f.ahead = f.ahead[n:]; len(f.ahead) < recordHeaderSize && f.large == nil {
		f.ahead = nil // it is read again, whole
	}
	return p, nil
}

func (f *Follower) openLarge(p Piece) (Piece, error) {
	body, err := f.j.openLarge(p.Large, p.Size)
	if err != nil {
		return Piece{}, f.j.lost(Position{Segment: f.number, Offset: f.record}, err)
	}
	p.Body = body
	return p, nil
}

// openLarge reads the first bytes of a large file.
func (j *Journal) openLarge(id uint64, size int64) (io.ReadCloser, error) {
	file, err := j.fs.Open(j.largePath(id))
	if err != nil {
		return nil, err
	}
	body, err := file.Stream(storage.Range{Length: size})
	if err != nil {
		return nil, closeAfter(file, err)
	}
	return &largeBody{Reader: body, File: file}, nil
}

// largeBody is the content of a large file.
type largeBody struct {
	io.Reader
	File
}

func (b *largeBody) Read(p []byte) (int, error) { return b.Reader.Read(p) }

// watch returns a channel that is closed when bytes were written, or a segment
// was begun, sealed or removed; mu is held.
func (j *Journal) watch() <-chan struct{} {
	if j.changed == nil {
		j.changed = make(chan struct{})
	}
	return j.changed
}

// changes tells those who watch; mu is held. It costs nothing when nobody
// does.
func (j *Journal) changes() {
	if j.changed != nil {
		close(j.changed)
		j.changed = nil
	}
}

// Watch returns the segments as Segments does, and a channel that is closed
// when anything of that, or what was written, has changed since.
func (j *Journal) Watch() ([]Segment, <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.describe(), j.watch()
}
