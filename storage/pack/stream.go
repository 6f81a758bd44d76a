package pack

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sort"

	"github.com/esante-alsace/cigogne/storage"
)

// Pack is a pack that was laid out and not yet written: a virtual file whose
// bytes come from the members when they are read. It is an archive.Source and
// a Blob, and is safe for use by many goroutines.
type Pack struct {
	header  Header
	members []Member
	pieces  []piece
	size    int64
	spool   *spool // what follows the instances
	bulk    *spool // instances that were compressed
	sums    partSums
}

// piece is a part of the virtual file: bytes in memory, a part of the spool, or
// the bytes of a member's entry, wherever they come from.
type piece struct {
	at, size int64
	open     func(ctx context.Context, r storage.Range) (io.ReadCloser, error)
	member   *Member // nil for what is not checked when it is read
	crc      uint32  // of the bytes of a member's entry
}

// inMemory is a piece of bytes.
func inMemory(data []byte) piece {
	return piece{size: int64(len(data)), open: func(_ context.Context, r storage.Range) (io.ReadCloser, error) {
		return &bytesReader{data[r.Offset:r.End()]}, nil
	}}
}

// since is a piece of what is in the spool behind from.
func (s *spool) since(from int64) piece {
	return piece{size: s.size - from, open: func(_ context.Context, r storage.Range) (io.ReadCloser, error) {
		return io.NopCloser(io.NewSectionReader(s, from+r.Offset, r.Length)), nil
	}}
}

// String names the piece in errors.
func (p *piece) String() string {
	if p.member != nil {
		return p.member.Key.String()
	}
	return "the metadata of a pack"
}

func (p *Pack) add(next piece) {
	next.at = p.size
	p.pieces = append(p.pieces, next)
	p.size += next.size
}

// Size is the length of the pack in bytes.
func (p *Pack) Size() int64 { return p.size }

// Header says what the pack holds.
func (p *Pack) Header() Header { return p.header }

// Close frees what the pack holds on memory and disk. No reader of it may be
// open.
func (p *Pack) Close() error { return errors.Join(p.spool.Close(), p.bulk.Close()) }

// Matches tells whether a stored pack holds the same instances. A pack that
// was written by another version of Cigogne, or with another Compression, may
// differ in its bytes, though not in what it says; then it need not be written
// again.
func (p *Pack) Matches(d *Directory) bool {
	if p.header != d.Header || len(p.members) != len(d.Entries) {
		return false
	}
	for i, m := range p.members {
		if m.Instance != d.Entries[i].Instance {
			return false
		}
	}
	return true
}

// Open reads a range of the pack. Each member's entry is checked against its
// CRC-32, also one that is read in parts by several readers: the one that reads
// the last missing part fails with storage.ErrCorrupt before that part's end
// when the entry differs. So does a reader whose member ends early. Reads fill
// their buffer whenever they can.
func (p *Pack) Open(ctx context.Context, r storage.Range) (io.ReadCloser, error) {
	if !r.Within(p.size) {
		return nil, fmt.Errorf("%w: %d bytes from %d of a pack of %d", storage.ErrInvalid, r.Length, r.Offset, p.size)
	}
	first := sort.Search(len(p.pieces), func(i int) bool { return p.pieces[i].at+p.pieces[i].size > r.Offset })
	return &stream{ctx: ctx, pack: p, next: first, at: r.Offset, end: r.End()}, nil
}

// stream reads a range of a Pack.
type stream struct {
	ctx     context.Context // of Open, for the members that are opened later
	pack    *Pack
	next    int // the piece after current
	at, end int64

	current io.ReadCloser // nil between two pieces
	from    int64         // where reading began in the current piece
	left    int64         // of the part of it that is read
	crc     uint32        // of what was read of it
	err     error
}

// Read implements io.Reader.
func (s *stream) Read(b []byte) (int, error) {
	n := 0
	for n < len(b) && s.err == nil {
		m, err := s.readPiece(b[n:])
		n += m
		s.err = err
	}
	if n > 0 {
		return n, nil // s.err is for the next Read
	}
	return 0, s.err
}

// readPiece reads from one piece.
func (s *stream) readPiece(b []byte) (int, error) {
	if s.at == s.end {
		return 0, io.EOF
	}
	if s.current == nil {
		if err := s.openPiece(); err != nil {
			return 0, err
		}
	}
	if s.left == 0 {
		return 0, s.closePiece()
	}
	n, err := s.current.Read(b[:min(int64(len(b)), s.left)])
	if err := s.check(b[:n]); err != nil {
		return 0, err
	}
	s.left -= int64(n)
	s.at += int64(n)
	switch {
	case s.left == 0:
		return n, s.closePiece()
	case errors.Is(err, io.EOF):
		return n, fmt.Errorf("%w: %s ends %d bytes too early", storage.ErrCorrupt, &s.pack.pieces[s.next-1], s.left)
	}
	return n, err
}

// check sums what was read of a member, and compares it at the part's end.
func (s *stream) check(b []byte) error {
	p := &s.pack.pieces[s.next-1]
	if p.member == nil {
		return nil
	}
	s.crc = crc32.Update(s.crc, crc32.IEEETable, b)
	if int64(len(b)) < s.left {
		return nil
	}
	to := s.at + s.left - p.at
	if s.from == 0 && to == p.size {
		return p.checkSum(s.crc)
	}
	return s.pack.sums.add(p, partSum{from: s.from, to: to, crc: s.crc})
}

// openPiece opens the part of the next piece that the range covers.
func (s *stream) openPiece() error {
	p := &s.pack.pieces[s.next]
	s.next++
	from := storage.Range{Offset: s.at - p.at}
	from.Length = min(p.size, s.end-p.at) - from.Offset
	s.from, s.left, s.crc = from.Offset, from.Length, 0
	r, err := p.open(s.ctx, from)
	if err != nil {
		return fmt.Errorf("open %s for its pack: %w", p, err)
	}
	s.current = r
	return nil
}

func (s *stream) closePiece() error {
	err := s.current.Close()
	s.current = nil
	return err
}

// Close implements io.Closer.
func (s *stream) Close() error {
	s.err = errors.New("pack: read after close")
	if s.current == nil {
		return nil
	}
	return s.closePiece()
}

// bytesReader is bytes.Reader without the need to close it.
type bytesReader struct{ b []byte }

func (r *bytesReader) Read(p []byte) (int, error) {
	if len(r.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.b)
	r.b = r.b[n:]
	return n, nil
}

func (r *bytesReader) Close() error { return nil }
