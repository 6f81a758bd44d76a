package pack

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"
)

// deflateLevel is for pixels; DESIGN.md has the figures. zstd has one level
// here, SpeedFastest, with the entropy coding of bytes that nothing repeats:
// noise in the low bits of pixels leaves little else.
const deflateLevel = 1

// encoder compresses blocks of one method. What comes of a block depends on
// its bytes alone.
type encoder struct {
	method  uint16
	out     bytes.Buffer
	deflate *flate.Writer
	zstd    *zstd.Encoder
	frame   []byte // of the last call
}

func newEncoder(method uint16) (e *encoder, err error) {
	e = &encoder{method: method}
	if method == deflated {
		e.deflate, err = flate.NewWriter(&e.out, deflateLevel)
		return e, err
	}
	e.zstd, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithAllLitEntropyCompression(true), zstd.WithWindowSize(maxBlock), zstd.WithEncoderCRC(false),
		zstd.WithLowerEncoderMem(true))
	return e, err
}

// encode compresses a block; what it returns is valid until the next call.
// Blocks one behind the other are one deflate stream, which the last ends, or
// zstd frames.
func (e *encoder) encode(raw []byte, last bool) ([]byte, error) {
	if e.method == zstandard {
		e.frame = e.zstd.EncodeAll(raw, e.frame[:0])
		return e.frame, nil
	}
	e.out.Reset()
	e.deflate.Reset(&e.out)
	_, err := e.deflate.Write(raw)
	if err == nil && last {
		err = e.deflate.Close()
	} else if err == nil {
		err = e.deflate.Flush()
	}
	return e.out.Bytes(), err
}

// decoder decompresses blocks of either method, never more than asked for.
type decoder struct {
	in      bytes.Reader
	deflate io.ReadCloser
	zstd    *zstd.Decoder
}

// emptyEnd is a deflate stream of nothing: it ends what a block left open.
const emptyEnd = "\x01\x00\x00\xff\xff"

// decode decompresses a block into raw, whose length it must have, and
// compares its CRC-32. Anything else is storage.ErrCorrupt. It may write
// behind the compressed bytes where their slice has room. Blocks that pass
// also pass as a whole for those who know of no blocks: one that is not the
// last ends at a byte's and a deflate block's end.
func (d *decoder) decode(method uint16, b block, compressed, raw []byte) error {
	var err error
	if method == zstandard {
		err = d.unzstd(compressed, raw)
	} else {
		if !b.last {
			compressed = append(compressed, emptyEnd...)
		}
		err = d.inflate(compressed, raw)
	}
	if err == nil {
		if crc := crc32.ChecksumIEEE(raw); crc != b.crc {
			err = fmt.Errorf("it has CRC-32 %08x, not %08x", crc, b.crc)
		}
	}
	if err != nil {
		return corrupt("the block at %d: %v", b.raw.Offset, err)
	}
	return nil
}

func (d *decoder) inflate(compressed, raw []byte) error {
	d.in.Reset(compressed)
	if d.deflate == nil {
		d.deflate = flate.NewReader(&d.in)
	} else if err := d.deflate.(flate.Resetter).Reset(&d.in, nil); err != nil {
		return err
	}
	if _, err := io.ReadFull(d.deflate, raw); err != nil {
		return err
	}
	var more [1]byte
	if n, err := d.deflate.Read(more[:]); n > 0 || !errors.Is(err, io.EOF) {
		return fmt.Errorf("it goes on behind its %d bytes (%w)", len(raw), err)
	}
	if d.in.Len() > 0 {
		return fmt.Errorf("%d bytes lie behind its end", d.in.Len())
	}
	return nil
}

func (d *decoder) unzstd(compressed, raw []byte) (err error) {
	if d.zstd == nil {
		d.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(2*maxBlock),
			zstd.WithDecoderMaxWindow(2*maxBlock), zstd.WithDecodeAllCapLimit(true))
		if err != nil {
			return err
		}
	}
	got, err := d.zstd.DecodeAll(compressed, raw[:0:len(raw)])
	if err == nil && len(got) != len(raw) {
		err = fmt.Errorf("it holds %d bytes, not %d", len(got), len(raw))
	}
	return err
}
