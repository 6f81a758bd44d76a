package pack

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
)

// compressedLineOf is goodLine for an instance that lies in blocks.
func compressedLineOf(b *blocks) string {
	compressed := fmt.Sprintf(`"compressed":{"method":"%s","length":%d,"first":%d,"block":%d,"blocks":"%s"}`,
		setting(b.method), b.length, b.first, b.block, base64.StdEncoding.EncodeToString(b.table))
	return strings.Replace(goodLine, `"offset":37,`, `"offset":37,`+compressed+`,`, 1)
}

func compressedIndex(b *blocks) string {
	return goodHeader + compressedLineOf(b) + "\n"
}

// goodBlocks are some of an instance of 600 bytes.
func goodBlocks() *blocks {
	b := &blocks{cuts: cuts{first: 400, block: 100}, method: zstandard}
	b.add(200, 1)
	b.add(90, 2)
	b.add(80, 3)
	return b
}

func TestBlockLinesAreReadFast(t *testing.T) {
	line := compressedLineOf(goodBlocks())
	r := lineReader{known: map[string]string{}}
	var e, other Entry
	if !r.fast([]byte(line), &e) || !reflect.DeepEqual(e.blocks, goodBlocks()) {
		t.Fatalf("%+v, want %+v, read fast", e.blocks, goodBlocks())
	}
	if again, err := appendLine(nil, &e); err != nil || string(again) != line {
		t.Errorf("%s (%v), want %s", again, err, line)
	}
	reordered := `{"size":600,` + strings.Replace(line, `"size":600,`, "", 1)[1:]
	if err := r.read([]byte(reordered), &other); err != nil || !reflect.DeepEqual(other, e) {
		t.Errorf("%+v (%v), want %+v", other, err, e)
	}
}

func TestHostileBlocks(t *testing.T) {
	if _, err := ReadDirectory(t.Context(), wrap([]byte(compressedIndex(goodBlocks())), 2000)); err != nil {
		t.Fatalf("the index that the others are made of: %v", err)
	}
	for name, change := range map[string]func(*blocks){
		"stored":           func(b *blocks) { b.method = stored },
		"no length":        func(b *blocks) { b.length = 0 },
		"a longer length":  func(b *blocks) { b.length++ },
		"no first":         func(b *blocks) { b.first = 0 },
		"negative first":   func(b *blocks) { b.first = -1 },
		"a first too far":  func(b *blocks) { b.first = 601 },
		"no block":         func(b *blocks) { b.block = 0 },
		"negative block":   func(b *blocks) { b.block = -100 },
		"a huge block":     func(b *blocks) { b.block = maxBlock + 1 },
		"a block more":     func(b *blocks) { b.block = 50 },
		"a block less":     func(b *blocks) { b.block = 200 },
		"no table":         func(b *blocks) { b.table = nil },
		"a cut table":      func(b *blocks) { b.table = b.table[:len(b.table)-1] },
		"a longer table":   func(b *blocks) { b.table = append(b.table, 0) },
		"an empty block":   func(b *blocks) { b.table[0], b.table[1] = 0x80, 0 },
		"a bloated block":  func(b *blocks) { *b = blocks{cuts: cuts{600, 1}, method: deflated}; b.add(1700, 0) },
		"an endless table": func(b *blocks) { b.table = bytes.Repeat([]byte{0xff}, 30) },
		"many blocks":      func(b *blocks) { *b = blocks{cuts: cuts{1, 1}, method: deflated, table: make([]byte, 3000)} },
	} {
		t.Run(name, func(t *testing.T) {
			b := goodBlocks()
			change(b)
			if _, err := ReadDirectory(t.Context(), wrap([]byte(compressedIndex(b)), 2000)); !errors.Is(err, storage.ErrCorrupt) {
				t.Errorf("%v, want storage.ErrCorrupt", err)
			}
		})
	}
	t.Run("a line without end", func(t *testing.T) {
		b := goodBlocks()
		b.table = make([]byte, maxLine)
		if _, err := ReadDirectory(t.Context(), wrap([]byte(compressedIndex(b)), 2000)); !errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("%v, want storage.ErrCorrupt", err)
		}
	})
}

func TestCut(t *testing.T) {
	frames := func(length, offset int64, count int) *dicom.Layout {
		return &dicom.Layout{Frames: &dicom.Frames{
			Count: count, FrameBits: length * 8, Native: storage.Range{Offset: offset, Length: length * int64(count)},
		}}
	}
	const kib, mib, gib = 1 << 10, 1 << 20, 1 << 30
	for name, c := range map[string]struct {
		size   int64
		layout *dicom.Layout
		want   cuts
	}{
		"small":                 {25 * kib, frames(8*kib, 17*kib-300, 1), cuts{25 * kib, 256 * kib}},
		"unknown":               {mib, nil, cuts{256 * kib, 256 * kib}},
		"CT":                    {516 * kib, frames(512*kib, 4*kib-300, 1), cuts{260 * kib, 256 * kib}},
		"pixels far behind":     {2 * mib, frames(512*kib, 600*kib-300, 2), cuts{344 * kib, 256 * kib}},
		"many small frames":     {100 * mib, frames(30*kib, 70*kib-300, 3000), cuts{310 * kib, 240 * kib}},
		"large frames":          {400 * mib, frames(2000*2500*2, 4*kib-300, 40), cuts{4*kib + 250_000, 250_000}},
		"a frame of odd length": {mib, frames(524_287, 4*kib-300, 1), cuts{260 * kib, 256 * kib}},
		"less than a first":     {257 * kib, frames(250*kib, 7*kib-300, 1), cuts{257 * kib, 250 * kib}},
		"huge":                  {20 * gib, nil, cuts{mib, mib}},
	} {
		t.Run(name, func(t *testing.T) {
			m := &Member{Instance: storage.Instance{Size: c.size, Prefix: 300}, Layout: c.layout}
			got, ok := cut(m)
			if got != c.want || !ok {
				t.Fatalf("%+v (%t), want %+v", got, ok, c.want)
			}
			end := int64(0)
			for i := range got.count(c.size) {
				r := got.rangeOf(i, c.size)
				if r.Offset != end || r.Length < 1 || r.Length > maxBlock || got.at(r.Offset) != i || got.at(r.End()-1) != i {
					t.Fatalf("block %d is %+v, the one before ends at %d", i, r, end)
				}
				end = r.End()
			}
			if end != c.size {
				t.Errorf("the last block ends at %d of %d", end, c.size)
			}
		})
	}
	if c, ok := cut(&Member{Instance: storage.Instance{Size: 1 << 40}}); ok {
		t.Errorf("1 TiB is cut into %d blocks", c.count(1<<40))
	}
}

// pixels imitates 16-bit pixels: a slope with noise in the low bits.
func pixels(seed uint64, n int) []byte {
	rng := rand.New(rand.NewPCG(seed, 2))
	b := make([]byte, n)
	for i := range n / 2 {
		v := uint16(i/64%2000) + uint16(rng.Uint32()&15)
		b[2*i], b[2*i+1] = byte(v), byte(v>>8)
	}
	return b
}

// TestEncodersRememberNothing: a block gives the same bytes whichever encoder
// compresses it, and whatever that compressed before.
func TestEncodersRememberNothing(t *testing.T) {
	for _, method := range []uint16{deflated, zstandard} {
		used, err := newEncoder(method)
		if err != nil {
			t.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(uint64(method), 3))
		for i := range 60 {
			raw := pixels(uint64(i%7), 1+rng.IntN(300<<10))
			if i%5 == 0 {
				raw = bytes.Repeat([]byte("the same again "), 1+rng.IntN(20_000))
			}
			last := i%2 == 0
			fresh, err := newEncoder(method)
			if err != nil {
				t.Fatal(err)
			}
			want, err := fresh.encode(raw, last)
			if err != nil {
				t.Fatal(err)
			}
			got, err := used.encode(raw, last)
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("method %d: block %d gave other bytes (%v)", method, i, err)
			}
			if int64(len(got)) > maxCompressed(int64(len(raw))) {
				t.Fatalf("method %d: %d bytes became %d", method, len(raw), len(got))
			}
		}
	}
}

// TestNoiseStaysBelowMaxCompressed compresses what cannot be.
func TestNoiseStaysBelowMaxCompressed(t *testing.T) {
	noise := make([]byte, maxBlock)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(noise)
	for _, method := range []uint16{deflated, zstandard} {
		e, err := newEncoder(method)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{1, 2, 100, 1000, 100_000, maxBlock} {
			got, err := e.encode(noise[:n], false)
			if err != nil || int64(len(got)) > maxCompressed(int64(n)) {
				t.Errorf("method %d: %d bytes became %d (%v)", method, n, len(got), err)
			}
			raw := make([]byte, n)
			b := block{raw: storage.Range{Length: int64(n)}, crc: crc32.ChecksumIEEE(noise[:n])}
			if err := new(decoder).decode(method, b, slices.Clone(got), raw); err != nil || !bytes.Equal(raw, noise[:n]) {
				t.Errorf("method %d: %d bytes came back otherwise (%v)", method, n, err)
			}
		}
	}
}

// TestDecoderRefuses holds blocks to be one of a whole that other tools read.
func TestDecoderRefuses(t *testing.T) {
	raw := pixels(1, 50_000)
	for _, method := range []uint16{deflated, zstandard} {
		e, err := newEncoder(method)
		if err != nil {
			t.Fatal(err)
		}
		inner, err := e.encode(raw, false)
		if err != nil {
			t.Fatal(err)
		}
		inner = slices.Clone(inner)
		end, err := e.encode(raw, true)
		if err != nil {
			t.Fatal(err)
		}
		end = slices.Clone(end)
		good := block{crc: crc32.ChecksumIEEE(raw)}
		var d decoder // the same for all: it must not remember either
		for name, c := range map[string]struct {
			compressed []byte
			last       bool
			length     int
			crc        uint32
			deflate    bool // only of interest for deflate
		}{
			"cut":           {inner[:len(inner)-1], false, len(raw), good.crc, false},
			"behind":        {append(slices.Clone(end), 0), true, len(raw), good.crc, false},
			"too short":     {end, true, len(raw) + 1, good.crc, false},
			"too long":      {end, true, len(raw) - 1, good.crc, false},
			"checksum":      {end, true, len(raw), good.crc + 1, false},
			"empty":         {nil, true, len(raw), good.crc, false},
			"ends too soon": {end, false, len(raw), good.crc, true},
			"has no end":    {inner, true, len(raw), good.crc, true},
		} {
			if c.deflate && method != deflated {
				continue
			}
			b := block{crc: c.crc, last: c.last}
			if err := d.decode(method, b, slices.Clone(c.compressed), make([]byte, c.length)); !errors.Is(err, storage.ErrCorrupt) {
				t.Errorf("method %d, %s: %v, want storage.ErrCorrupt", method, name, err)
			}
			out := make([]byte, len(raw))
			if err := d.decode(method, block{crc: good.crc, last: true}, slices.Clone(end), out); err != nil || !bytes.Equal(out, raw) {
				t.Errorf("method %d: a good block after %s: %v", method, name, err)
			}
		}
	}
}

// FuzzDecode decompresses anything. All that it may do is fail, or give what
// the checksum says.
func FuzzDecode(f *testing.F) {
	for _, method := range []uint16{deflated, zstandard} {
		e, err := newEncoder(method)
		if err != nil {
			f.Fatal(err)
		}
		for _, last := range []bool{true, false} {
			out, err := e.encode(pixels(1, 3000), last)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(slices.Clone(out), method == zstandard, last, 3000)
		}
	}
	var d decoder
	f.Fuzz(func(t *testing.T, compressed []byte, zstd, last bool, length int) {
		method := uint16(deflated)
		if zstd {
			method = zstandard
		}
		raw := make([]byte, max(0, min(length, 1<<16)), 1<<16)
		err := d.decode(method, block{last: last}, slices.Clone(compressed), raw)
		if err != nil && !errors.Is(err, storage.ErrCorrupt) {
			t.Fatal(err)
		}
		if err == nil && crc32.ChecksumIEEE(raw) != 0 {
			t.Fatal("a block of another checksum was given away")
		}
	})
}
