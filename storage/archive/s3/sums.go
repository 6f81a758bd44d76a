package s3

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"math/bits"
	"strconv"
	"strings"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
)

const (
	// sumsHeader is the user metadata that carries an object's checksums, as
	// "<block length> <base64 of one big-endian CRC-32C per block>".
	sumsHeader = "cigogne-crc32c"
	// smallBlock is the length of the blocks of objects up to 128 MiB. The
	// checksums of mostBlocks fit into the 2 kB that S3 has for all metadata.
	smallBlock = 512 << 10
	mostBlocks = 256
	// largestBlock bounds what a reader must hold to check what it reads.
	largestBlock = 64 * mib
)

func castagnoli() hash.Hash32 { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) }

// blockOf is the length of the blocks by which an object of some size is
// summed: the smallest power of two that does with mostBlocks.
func blockOf(size int64) int64 {
	block := int64(smallBlock)
	for (size+block-1)/block > mostBlocks {
		block *= 2
	}
	return block
}

// sums are an object's checksums by blocks. The zero value is 'none known'.
type sums struct {
	block int64
	crcs  []uint32
}

// covers tells whether they are of an object of that size.
func (s sums) covers(size int64) bool {
	return s.block > 0 && int64(len(s.crcs)) == (size+s.block-1)/s.block
}

// String is how they stand in the header; empty when there are none.
func (s sums) String() string {
	if len(s.crcs) == 0 || s.block > largestBlock {
		return ""
	}
	raw := make([]byte, 0, 4*len(s.crcs))
	for _, c := range s.crcs {
		raw = binary.BigEndian.AppendUint32(raw, c)
	}
	return strconv.FormatInt(s.block, 10) + " " + base64.RawStdEncoding.EncodeToString(raw)
}

// parseSums reads a header. What is not understood, or not of an object of
// that size, is 'none known': an object without sums is read unchecked.
func parseSums(header string, size int64) sums {
	length, encoded, _ := strings.Cut(header, " ")
	block, err := strconv.ParseInt(length, 10, 64)
	if err != nil || block < smallBlock || block > largestBlock || bits.OnesCount64(uint64(block)) != 1 {
		return sums{}
	}
	raw, err := base64.RawStdEncoding.DecodeString(encoded)
	if err != nil || len(raw)%4 != 0 || len(raw) > 4*mostBlocks {
		return sums{}
	}
	s := sums{block: block, crcs: make([]uint32, 0, len(raw)/4)}
	for ; len(raw) > 0; raw = raw[4:] {
		s.crcs = append(s.crcs, binary.BigEndian.Uint32(raw))
	}
	if !s.covers(size) {
		return sums{}
	}
	return s
}

// summary is what a Put must know of its source before the first byte is
// sent: the protocol has the checksums in headers, before the bodies.
type summary struct {
	size  int64
	whole uint32
	sums  sums
	part  int64    // length of the parts
	parts []uint32 // checksum of each
}

// summarize reads the whole source once.
func summarize(ctx context.Context, src archive.Source, part int64) (summary, error) {
	s := summary{size: src.Size(), part: part}
	s.sums.block = blockOf(s.size)
	r, err := src.Open(ctx, storage.Range{Length: s.size})
	if err != nil {
		return s, sourceError{fmt.Errorf("open its source: %w", err)}
	}
	defer r.Close()
	whole := castagnoli()
	blocks := slicer{every: s.sums.block, sum: castagnoli()}
	parts := slicer{every: part, sum: castagnoli()}
	n, err := copyExactly(ctx, io.MultiWriter(whole, &blocks, &parts), r, s.size)
	if err != nil {
		return s, sourceError{readError(err, n, s.size)}
	}
	s.whole, s.sums.crcs, s.parts = whole.Sum32(), blocks.end(), parts.end()
	return s, nil
}

// copyExactly copies n bytes; fewer are io.ErrUnexpectedEOF.
func copyExactly(ctx context.Context, w io.Writer, r io.Reader, n int64) (int64, error) {
	buf := make([]byte, min(n+1, 256<<10))
	done := int64(0)
	for done < n {
		if err := ctx.Err(); err != nil {
			return done, err
		}
		got, err := io.ReadFull(r, buf[:min(n-done, int64(len(buf)))])
		done += int64(got)
		if err != nil {
			return done, err
		}
		if _, err := w.Write(buf[:got]); err != nil {
			return done, err
		}
	}
	return done, nil
}

// readError explains why a source could not be read.
func readError(err error, at, size int64) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: its source ends after %d of its %d bytes", storage.ErrCorrupt, at, size)
	}
	return fmt.Errorf("read its source: %w", err)
}

// slicer is a writer that sums each so many bytes on their own.
type slicer struct {
	every, n int64
	sum      hash.Hash32
	crcs     []uint32
}

func (s *slicer) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		take := min(int64(len(rest)), s.every-s.n)
		s.sum.Write(rest[:take])
		rest = rest[take:]
		if s.n += take; s.n == s.every {
			s.cut()
		}
	}
	return len(p), nil
}

func (s *slicer) cut() {
	s.crcs = append(s.crcs, s.sum.Sum32())
	s.sum.Reset()
	s.n = 0
}

func (s *slicer) end() []uint32 {
	if s.n > 0 {
		s.cut()
	}
	return s.crcs
}

// encodeCRC is a checksum as it stands in the protocol's headers.
func encodeCRC(crc uint32) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc))
}
