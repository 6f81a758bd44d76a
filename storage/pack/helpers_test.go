package pack_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/pack"
)

const (
	study  = "1.2.826.0.1.3680043.2.1125.1"
	series = "1.2.826.0.1.3680043.2.1125.1.7"
	prefix = 132 + 200 // of every synthetic instance
)

// blob is a stored pack in memory.
type blob []byte

func (b blob) Size() int64 { return int64(len(b)) }

func (b blob) Open(_ context.Context, r storage.Range) (io.ReadCloser, error) {
	if !r.Within(b.Size()) {
		return nil, fmt.Errorf("%w: %+v reaches beyond %d", storage.ErrInvalid, r, len(b))
	}
	return io.NopCloser(bytes.NewReader(b[r.Offset:r.End()])), nil
}

// counted is a Blob that notes the ranges that were read.
type counted struct {
	pack.Blob
	ranges []storage.Range
}

func (c *counted) Open(ctx context.Context, r storage.Range) (io.ReadCloser, error) {
	c.ranges = append(c.ranges, r)
	return c.Blob.Open(ctx, r)
}

// instance is a member of size bytes with JSON metadata of about jsonSize. It
// is the same for the same number.
func instance(number, size, jsonSize int) pack.Member {
	data := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(number), byte(number >> 8)}).Read(data)
	attributes := attributesOf(number, jsonSize)
	return member(number, data, attributes)
}

func member(number int, data []byte, attributes string) pack.Member {
	return pack.Member{
		Instance: storage.Instance{
			Key:         storage.InstanceKey{StudyInstanceUID: study, SeriesInstanceUID: series, SOPInstanceUID: fmt.Sprintf("%s.%d", series, number)},
			SOPClassUID: "1.2.840.10008.5.1.4.1.1.2", TransferSyntaxUID: "1.2.840.10008.1.2.1",
			Digest: storage.DigestOf(data[min(prefix, len(data)):]), Size: int64(len(data)), Prefix: int64(min(prefix, len(data))),
			CRC32: crc32.ChecksumIEEE(data), Received: 1790000000000000000 + int64(number)*1e6,
			Origin: storage.Origin{Transport: "dimse", CallingAETitle: "SCANNER_1", CalledAETitle: "CIGOGNE", RemoteAddr: "192.0.2.7:51324", ID: "a-17"},
		},
		Open: blob(data).Open,
		WriteMetadata: func(_ context.Context, w io.Writer) error {
			_, err := io.WriteString(w, attributes)
			return err
		},
		Layout: layoutOf(len(data)),
	}
}

func layoutOf(size int) *dicom.Layout {
	length := int64(size - prefix - 64)
	if length < 8 {
		return nil
	}
	native := storage.Range{Offset: 64, Length: length}
	return &dicom.Layout{
		Bulk:   []dicom.Bulk{{Path: "7FE00010", VR: "OW", Range: native}},
		Frames: &dicom.Frames{Count: 1, FrameBits: length * 8, Native: native},
	}
}

// image is a member of frames of native 16-bit pixels: slopes with noise in
// their low bits.
func image(number, frames, frame int) pack.Member {
	rng := rand.New(rand.NewPCG(uint64(number), 5))
	data := make([]byte, prefix+64+frames*frame)
	copy(data[128:], "DICM and what tells of the image")
	pixels := data[prefix+64:]
	for i := range len(pixels) / 2 {
		v := uint16(i/64%2000) + uint16(rng.Uint32()&15)
		pixels[2*i], pixels[2*i+1] = byte(v), byte(v>>8)
	}
	m := member(number, data, attributesOf(number, 300))
	m.Layout.Frames.Count, m.Layout.Frames.FrameBits = frames, int64(frame)*8
	return m
}

// attributesOf imitates the metadata of a CT: most of it is the same in each
// instance of a series, some of it is not.
func attributesOf(number, size int) string {
	rng := rand.New(rand.NewPCG(uint64(number), 1))
	var b strings.Builder
	fmt.Fprintf(&b, `{"00080018":{"vr":"UI","Value":["%s.%d"]},"00200013":{"vr":"IS","Value":[%d]},"00200032":{"vr":"DS","Value":[-250,-250,%g]}`, series, number, number, float64(number)*0.625)
	for tag := 0x00181000; b.Len() < size-100; tag += 2 {
		switch tag % 10 {
		case 0:
			fmt.Fprintf(&b, `,"%08X":{"vr":"DS","Value":[%.4f,%.4f]}`, tag, rng.Float64(), rng.Float64())
		case 2:
			fmt.Fprintf(&b, `,"%08X":{"vr":"PN","Value":[{"Alphabetic":"CIGOGNE^BLANCHE"}]}`, tag)
		case 4:
			fmt.Fprintf(&b, `,"%08X":{"vr":"SQ","Value":[{"00080100":{"vr":"SH","Value":["%d"]},"00080104":{"vr":"LO","Value":["a meaning in words"]}}]}`, tag, tag)
		default:
			fmt.Fprintf(&b, `,"%08X":{"vr":"LO","Value":["value of %d"]}`, tag, tag)
		}
	}
	b.WriteByte('}')
	return b.String()
}

func ctSeries(n, size, jsonSize int) []pack.Member {
	members := make([]pack.Member, n)
	for i := range members {
		members[i] = instance(i+1, size, jsonSize)
	}
	return members
}

func build(t testing.TB, o pack.Options, members []pack.Member) *pack.Pack {
	t.Helper()
	p, err := pack.Build(context.Background(), o, members)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func read(t testing.TB, b pack.Blob) blob {
	t.Helper()
	all, err := readRange(b, storage.Range{Length: b.Size()})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func readRange(b pack.Blob, r storage.Range) ([]byte, error) {
	rc, err := b.Open(context.Background(), r)
	if err != nil {
		return nil, err
	}
	all, err := io.ReadAll(rc)
	return all, errors.Join(err, rc.Close())
}

func directory(t testing.TB, b pack.Blob) *pack.Directory {
	t.Helper()
	d, err := pack.ReadDirectory(context.Background(), b)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// readEntry reads a range of an instance's stored form.
func readEntry(t testing.TB, d *pack.Directory, b pack.Blob, i int, r storage.Range) []byte {
	t.Helper()
	rc, err := d.Open(context.Background(), b, i, r)
	if err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(rc)
	if err := errors.Join(err, rc.Close()); err != nil {
		t.Fatal(err)
	}
	return all
}

func metadataOf(m pack.Member) string {
	var b bytes.Buffer
	if err := m.WriteMetadata(context.Background(), &b); err != nil {
		panic(err)
	}
	return b.String()
}
