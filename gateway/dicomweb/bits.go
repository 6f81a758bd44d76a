package dicomweb

import (
	"bufio"
	"io"

	"github.com/esante-alsace/cigogne/storage"
)

// bitRange is a run of bits in a value in which the first bit is the least
// significant of the first byte (PS3.5 §8.1.1): a frame of BitsAllocated 1.
type bitRange struct{ first, count int64 }

// bytes is the range of bytes that hold the bits.
func (b bitRange) bytes() storage.Range {
	begin := b.first / 8
	return storage.Range{Offset: begin, Length: (b.first+b.count+7)/8 - begin}
}

// length is how many bytes the bits fill when they begin on a byte.
func (b bitRange) length() int64 { return (b.count + 7) / 8 }

// aligned tells whether the bits are whole bytes where they lie.
func (b bitRange) aligned() bool { return b.first%8 == 0 && b.count%8 == 0 }

// bitReader moves bits to the beginning of a byte, and clears what is behind
// the last.
type bitReader struct {
	src   *bufio.Reader
	close io.Closer
	shift uint
	bits  int64 // yet to come
	skip  int64 // bytes to leave out first
	left  int64 // bytes to yield
}

// newBitReader reads the range r of the moved bits; src yields bits.bytes().
func newBitReader(src io.ReadCloser, bits bitRange, r storage.Range) *bitReader {
	return &bitReader{
		src: bufio.NewReader(src), close: src, shift: uint(bits.first % 8), bits: bits.count, skip: r.Offset, left: r.Length,
	}
}

// Close implements io.Closer.
func (b *bitReader) Close() error { return b.close.Close() }

// Read implements io.Reader.
func (b *bitReader) Read(p []byte) (int, error) {
	for n := 0; ; {
		if n == len(p) {
			return n, nil
		}
		if b.left == 0 {
			return n, io.EOF
		}
		c, err := b.next()
		if err != nil {
			return n, err
		}
		if b.skip > 0 {
			b.skip--
			continue
		}
		p[n] = c
		n++
		b.left--
	}
}

func (b *bitReader) next() (byte, error) {
	c, err := b.src.ReadByte()
	if err != nil {
		return 0, noEOF(err)
	}
	c >>= b.shift
	if b.bits > int64(8-b.shift) && b.shift > 0 {
		ahead, err := b.src.Peek(1)
		if err != nil {
			return 0, noEOF(err)
		}
		c |= ahead[0] << (8 - b.shift)
	}
	if b.bits < 8 {
		c &= 1<<b.bits - 1
	}
	b.bits -= 8
	return c, nil
}

func noEOF(err error) error {
	if err == io.EOF { //nolint:errorlint // bufio returns it as it is
		return io.ErrUnexpectedEOF
	}
	return err
}
