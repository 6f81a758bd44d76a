package pack

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/klauspost/compress/flate"
)

type bytesBlob []byte

func (b bytesBlob) Size() int64 { return int64(len(b)) }

func (b bytesBlob) Open(_ context.Context, r storage.Range) (io.ReadCloser, error) {
	if !r.Within(b.Size()) {
		return nil, storage.ErrInvalid
	}
	return io.NopCloser(bytes.NewReader(b[r.Offset:r.End()])), nil
}

// wrap makes a blob with an index of any text, whose checksums are right.
func wrap(index []byte, before int) bytesBlob {
	blob := make(bytesBlob, before)
	var deflate bytes.Buffer
	w, _ := flate.NewWriter(&deflate, 1)
	w.Write(index)
	w.Close()
	p := pointer{version: Version, offset: int64(before), compressed: int64(deflate.Len()), size: int64(len(index)), crc: crc32.ChecksumIEEE(index)}
	return end(append(blob, deflate.Bytes()...), 1, 0, 0, p.String())
}

const (
	goodHeader = `{"format":"cigogne-pack","version":3,"studyInstanceUID":"1.2","seriesInstanceUID":"1.3","conflict":false,"instances":1}` + "\n"
	goodLine   = `{"sopInstanceUID":"1.4","sopClassUID":"1.5","transferSyntaxUID":"1.2.840.10008.1.2.1","digest":"2d6aa7438b04f30b0700d5d69e4b1a62611283ed376c2197c43d1a1d719b47b5","size":600,"prefix":332,"crc32":2291715073,"received":1790000000001000000,"origin":{"transport":"dimse","id":"a,\"offset\":17"},"offset":37,"metadata":{"restart":0,"layout":4,"attributes":2,"crc32":5}}`
	goodIndex  = goodHeader + goodLine + "\n"
)

func TestHostileIndex(t *testing.T) {
	replace := func(old, with string) string {
		if !strings.Contains(goodIndex, old) {
			t.Fatalf("no %q in the index", old)
		}
		return strings.ReplaceAll(goodIndex, old, with)
	}
	if _, err := ReadDirectory(t.Context(), wrap([]byte(goodIndex), 2000)); err != nil {
		t.Fatalf("the index that the others are made of: %v", err)
	}
	for name, index := range map[string]string{
		"empty":              "",
		"no newline":         strings.TrimSuffix(goodIndex, "\n"),
		"only a header":      goodHeader,
		"a second line":      goodIndex + goodLine + "\n",
		"no JSON":            "{\n",
		"long line":          replace(`"1.4"`, `"`+strings.Repeat("1", maxLine)+`"`),
		"another format":     replace("cigogne-pack", "stork-pack"),
		"another version":    replace(`"version":3`, `"version":2`),
		"no series":          replace(`"1.3"`, `"../1.3"`),
		"no instances":       replace(`"instances":1`, `"instances":0`),
		"negative instances": replace(`"instances":1`, `"instances":-1`),
		"many instances":     replace(`"instances":1`, `"instances":999999999`),
		"more instances":     replace(`"instances":1`, `"instances":2`),
		"UID":                replace(`"1.4"`, `"../../etc"`),
		"negative size":      replace(`"size":600`, `"size":-1`),
		"huge size":          replace(`"size":600`, `"size":9223372036854775807`),
		"larger size":        replace(`"size":600`, `"size":2000`),
		"number overflow":    replace(`"size":600`, `"size":9223372036854775808`),
		"prefix":             replace(`"prefix":332`, `"prefix":601`),
		"negative prefix":    replace(`"prefix":332`, `"prefix":-1`),
		"offset":             replace(`"offset":37`, `"offset":38`),
		"negative offset":    replace(`"offset":37`, `"offset":-1`),
		"restart":            replace(`"restart":0`, `"restart":1`),
		"huge layout":        replace(`"layout":4`, `"layout":16777217`),
		"negative layout":    replace(`"layout":4`, `"layout":-4`),
		"huge attributes":    replace(`"attributes":2`, `"attributes":9223372036854775807`),
		"digest":             replace(`"2d6a`, `"xx6a`),
		"crc32":              replace(`"crc32":5`, `"crc32":4294967296`),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := ReadDirectory(t.Context(), wrap([]byte(index), 2000)); !errors.Is(err, storage.ErrCorrupt) {
				t.Errorf("%v, want storage.ErrCorrupt", err)
			}
		})
	}
}

func TestVersionAndPlace(t *testing.T) {
	for comment, want := range map[string]error{
		"cigogne-pack/1 index=0+5 inflated=5 crc32=00000000":  storage.ErrEarlierDigest,
		"cigogne-pack/2 index=0+5":                            storage.ErrEarlierDigest,
		"cigogne-pack/4 index=0+5 inflated=5 crc32=00000000":  storage.ErrUnsupported,
		"cigogne-pack/37 something else":                      storage.ErrUnsupported,
		"cigogne-pack/0 index=0+5 inflated=5 crc32=00000000":  storage.ErrCorrupt,
		"cigogne-pack/3 index=0+5":                            storage.ErrCorrupt,
		"cigogne-pack/3 index=0+99 inflated=5 crc32=00000000": storage.ErrCorrupt,
		"cigogne-pack/3 index=-1+5 inflated=5 crc32=00000000": storage.ErrCorrupt,
		"": storage.ErrCorrupt,
	} {
		if _, err := ReadDirectory(t.Context(), bytesBlob(end(nil, 1, 0, 0, comment))); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", comment, err, want)
		}
	}
}

func TestCombine(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	data := make([]byte, 100_000)
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	for range 200 {
		end := rng.IntN(len(data) + 1)
		cut := rng.IntN(end + 1)
		got := combine(crc32.ChecksumIEEE(data[:cut]), crc32.ChecksumIEEE(data[cut:end]), int64(end-cut))
		if want := crc32.ChecksumIEEE(data[:end]); got != want {
			t.Fatalf("%d and %d bytes: %08x, want %08x", cut, end-cut, got, want)
		}
	}
}

// FuzzIndex opens packs whose index is anything, with right checksums.
func FuzzIndex(f *testing.F) {
	f.Add([]byte(goodIndex), 2000)
	f.Add([]byte(goodHeader), 0)
	f.Add([]byte(compressedIndex(goodBlocks())), 2000)
	f.Fuzz(func(t *testing.T, index []byte, before int) {
		blob := wrap(index, max(0, min(before, 1<<16)))
		d, err := ReadDirectory(t.Context(), blob)
		if err != nil {
			if !errors.Is(err, storage.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		at := int64(0)
		for i, e := range d.Entries {
			if e.Offset < at || !e.Stored().Within(d.metadata.Offset) || !d.detailRange(i, i+1).Within(blob.Size()) {
				t.Fatalf("entry %d: %+v of %d", i, e, blob.Size())
			}
			at = e.Stored().End()
			r, err := d.Open(t.Context(), blob, i, storage.Range{Offset: e.Size / 3, Length: e.Size / 2})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, r); err != nil && !errors.Is(err, storage.ErrCorrupt) {
				t.Fatal(err)
			}
			r.Close()
		}
		if err := Verify(t.Context(), blob, func(string) {}); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzLine compares the fast reader of index lines with encoding/json.
func FuzzLine(f *testing.F) {
	f.Add([]byte(goodLine))
	f.Add([]byte(compressedLineOf(&blocks{cuts: cuts{400, 100}, method: zstandard, length: 321, table: []byte("\x10abcd\x08efgh\x09ijkl")})))
	f.Add([]byte(strings.Replace(goodLine, `"size":600`, `"size":0600`, 1)))
	f.Add([]byte(strings.Replace(goodLine, `"dimse"`, `"\u00e9"`, 1)))
	f.Add([]byte(strings.Replace(goodLine, `"received":`, `"received":-`, 1)))
	f.Fuzz(func(t *testing.T, line []byte) {
		var fast, slow Entry
		r := lineReader{known: map[string]string{}}
		if !r.fast(line, &fast) {
			return
		}
		var l indexLine
		if err := json.Unmarshal(line, &l); err != nil {
			t.Fatalf("encoding/json refuses it: %v", err)
		}
		r.fill(&slow, &l)
		if !reflect.DeepEqual(fast, slow) {
			t.Fatalf("%+v, encoding/json reads %+v", fast, slow)
		}
	})
}

func TestLinesAreReadFast(t *testing.T) {
	r := lineReader{known: map[string]string{}}
	var e Entry
	if !r.fast([]byte(goodLine), &e) {
		t.Fatal("a good line is not read fast")
	}
	again, err := appendLine(nil, &e)
	if err != nil || string(again) != goodLine {
		t.Errorf("%s (%v), want %s", again, err, goodLine)
	}
	reordered := `{"size":600,` + strings.Replace(goodLine, `"size":600,`, "", 1)[1:]
	var other Entry
	if err := r.read([]byte(reordered), &other); err != nil || other != e {
		t.Errorf("%+v (%v), want %+v", other, err, e)
	}
}

func TestLayouts(t *testing.T) {
	inst := storage.Instance{Size: 1 << 40}
	many := &dicom.Frames{Count: 50_000}
	for i := range many.Count {
		many.Fragments = append(many.Fragments, storage.Range{Offset: 1000 + int64(i)*20_000, Length: 19_000 + int64(i%1000)})
		many.FirstFragment = append(many.FirstFragment, i)
	}
	video := &dicom.Frames{Count: 3, Fragments: []storage.Range{{Offset: 500, Length: 7}, {Offset: 100, Length: 20}}, FirstFragment: []int{0, 0, 2}}
	for name, l := range map[string]*dicom.Layout{
		"unknown": nil,
		"empty":   {},
		"native":  {Frames: &dicom.Frames{Count: 7, FrameBits: 12, Native: storage.Range{Offset: 8, Length: 11}}},
		"bulk":    {Bulk: []dicom.Bulk{{Path: "00420011", VR: "OB", Range: storage.Range{Offset: 1 << 39, Length: 4}}}},
		"many":    {Frames: many},
		"unusual": {Frames: video},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := encodeLayout(l, inst)
			if err != nil {
				t.Fatal(err)
			}
			got, err := decodeLayout(b, inst)
			if err != nil || !reflect.DeepEqual(got, l) {
				t.Errorf("%+v (%v), want %+v", got, err, l)
			}
			if len(b) > 400_000 {
				t.Errorf("it takes %d bytes", len(b))
			}
			t.Logf("%d bytes", len(b))
		})
	}
}

// FuzzLayout decodes anything. What is accepted lies in the Data Set, and is
// the same after another round.
func FuzzLayout(f *testing.F) {
	f.Add([]byte(`{"bulk":[{"path":"7FE00010","vr":"OW","offset":64,"length":204}],"frames":{"count":1,"frameBits":1632,"offset":64,"length":204}}`))
	f.Add([]byte(`{"frames":{"count":2,"fragments":"oAEUEBYQKA==","firstFragment":"AAQ="}}`))
	f.Add([]byte(`{"frames":{"count":3,"fragments":"oAEUEBYQKA==","single":true}}`))
	f.Add([]byte(`{"frames":{"count":1,"fragments":"////////////","firstFragment":"//8="}}`))
	inst := storage.Instance{Size: 1000, Prefix: 100}
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := decodeLayout(b, inst)
		if err != nil || l == nil {
			return
		}
		again, err := encodeLayout(l, inst)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decodeLayout(again, inst); err != nil || !reflect.DeepEqual(got, l) {
			t.Fatalf("%+v (%v), want %+v", got, err, l)
		}
	})
}
