package dicomtest

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
)

// The transfer syntaxes that instances can be written in.
const (
	ImplicitLE = "1.2.840.10008.1.2"
	ExplicitLE = "1.2.840.10008.1.2.1"
	Deflated   = "1.2.840.10008.1.2.1.99"
	ExplicitBE = "1.2.840.10008.1.2.2"
	RLE        = "1.2.840.10008.1.2.5"
	JPEG       = "1.2.840.10008.1.2.4.50"
	HTJ2K      = "1.2.840.10008.1.2.4.201"
)

// Storage SOP classes.
const (
	CTImage             = "1.2.840.10008.5.1.4.1.1.2"
	CRImage             = "1.2.840.10008.5.1.4.1.1.1"
	MultiframeGrayscale = "1.2.840.10008.5.1.4.1.1.7.2"
)

// Options describes a study. The zero value is one series of ten CT instances
// of 526 KB.
type Options struct {
	Seed      uint64
	Series    int // default 1
	Instances int // of each series, default 10
	// TransferSyntaxUID is ExplicitLE by default. In an encapsulated one, RLE
	// apart, frames are fragments that no codec understands.
	TransferSyntaxUID string
	// Modality is "CT" (512x512) or "CR" (a tiny one, 22 KB), default CT.
	Modality string
	// PatientName and CharacterSet replace what the seed gives; the name is
	// in the bytes of that character set.
	PatientID    string
	PatientName  string
	CharacterSet string
	// Frames is NumberOfFrames, default 1 and then left out.
	Frames int
}

// Study is made by NewStudy.
type Study struct {
	StudyInstanceUID string
	PatientID        string
	PatientName      string
	Instances        []Instance
}

// Instance is one instance: its Data Set is written when asked for, so that a
// large study takes no memory.
type Instance struct {
	SOPClassUID       string
	SOPInstanceUID    string
	StudyInstanceUID  string
	SeriesInstanceUID string
	TransferSyntaxUID string
	SeriesNumber      int
	InstanceNumber    int

	opts Options
	seed uint64
}

// NewStudy describes a study; the same options describe the same one.
func NewStudy(o Options) Study {
	o = o.withDefaults()
	r := rand.New(rand.NewPCG(o.Seed, 1))
	study := Study{StudyInstanceUID: uid(r), PatientID: o.PatientID, PatientName: o.PatientName}
	for series := 1; series <= o.Series; series++ {
		seriesUID := uid(r)
		for number := 1; number <= o.Instances; number++ {
			i := Instance{
				SOPClassUID: CTImage, SOPInstanceUID: uid(r),
				StudyInstanceUID: study.StudyInstanceUID, SeriesInstanceUID: seriesUID,
				TransferSyntaxUID: o.TransferSyntaxUID,
				SeriesNumber:      series, InstanceNumber: number,
				opts: o, seed: r.Uint64(),
			}
			if o.Modality == "CR" {
				i.SOPClassUID = CRImage
			}
			if o.Frames > 1 {
				i.SOPClassUID = MultiframeGrayscale
			}
			study.Instances = append(study.Instances, i)
		}
	}
	return study
}

func (o Options) withDefaults() Options {
	r := rand.New(rand.NewPCG(o.Seed, 2))
	if o.Series == 0 {
		o.Series = 1
	}
	if o.Instances == 0 {
		o.Instances = 10
	}
	if o.TransferSyntaxUID == "" {
		o.TransferSyntaxUID = ExplicitLE
	}
	if o.Modality == "" {
		o.Modality = "CT"
	}
	if o.PatientID == "" {
		o.PatientID = fmt.Sprintf("PAT%06d", r.IntN(1_000_000))
	}
	if o.PatientName == "" {
		n := names()
		chosen := n[r.IntN(len(n))]
		o.PatientName, o.CharacterSet = chosen.Bytes, chosen.CharacterSet
	}
	return o
}

// uid is a UUID-derived UID (PS3.5 §B.2).
func uid(r *rand.Rand) string {
	return fmt.Sprintf("2.25.%d%019d", r.Uint64()>>1, r.Uint64()%1e19)
}

// rows is the height and width of an image.
func (i Instance) rows() int {
	if i.opts.Modality == "CR" {
		return 104
	}
	return 512
}

// frameLength is the length in bytes of a native frame.
func (i Instance) frameLength() int { return 2 * i.rows() * i.rows() }

// DataSet is the Data Set in the instance's transfer syntax.
func (i Instance) DataSet() []byte {
	b := i.attributes()
	switch i.TransferSyntaxUID {
	case ImplicitLE, ExplicitLE, ExplicitBE, Deflated:
		b.Header(PixelData, "OW", uint32(i.frameLength()*max(i.opts.Frames, 1)))
		for frame := range max(i.opts.Frames, 1) {
			b.b = i.appendFrame(b.b, frame)
		}
	default:
		i.encapsulate(b)
	}
	if i.TransferSyntaxUID == Deflated {
		return Deflate(b.b)
	}
	return b.b
}

// Part10 is the instance as a PS3.10 file.
func (i Instance) Part10() []byte {
	return append(FileMeta(i.SOPClassUID, i.SOPInstanceUID, i.TransferSyntaxUID), i.DataSet()...)
}

// FileMeta is a preamble and File Meta Information.
func FileMeta(sopClassUID, sopInstanceUID, transferSyntaxUID string) []byte {
	var meta Builder
	meta.Binary(0x00020001, "OB", []byte{0, 1})
	meta.Text(0x00020002, "UI", sopClassUID).Text(0x00020003, "UI", sopInstanceUID)
	meta.Text(0x00020010, "UI", transferSyntaxUID).Text(0x00020012, "UI", "2.25.1")
	var b Builder
	b.Raw(make([]byte, 128)...).Raw([]byte("DICM")...)
	b.UL(0x00020000, uint32(meta.Len())).Raw(meta.b...)
	return b.b
}

// Deflate compresses a Data Set as PS3.5 §A.5 wants it.
func Deflate(dataSet []byte) []byte {
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, flate.BestSpeed)
	if err == nil {
		_, err = w.Write(dataSet)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil // a bytes.Buffer does not fail
	}
	if out.Len()&1 == 1 {
		out.WriteByte(0)
	}
	return out.Bytes()
}

// appendFrame appends the pixels of a frame: noise over a gradient.
func (i Instance) appendFrame(dst []byte, frame int) []byte {
	var order binary.AppendByteOrder = binary.LittleEndian
	if i.TransferSyntaxUID == ExplicitBE {
		order = binary.BigEndian
	}
	x := i.seed ^ uint64(frame+1)*0x9E3779B97F4A7C15
	for n := range i.frameLength() / 8 {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		dst = order.AppendUint64(dst, x&0x003F003F003F003F+uint64(n>>7&0x3FF)*0x0001000100010001)
	}
	return dst
}

// encapsulate appends one fragment per frame behind a Basic Offset Table.
func (i Instance) encapsulate(b *Builder) {
	var offsets []uint32
	var fragments [][]byte
	at := uint32(0)
	for frame := range max(i.opts.Frames, 1) {
		f := i.appendFrame(nil, frame)
		if i.TransferSyntaxUID == RLE {
			f = RLEFrame(f, 2)
		} else {
			f = append([]byte{0xFF, 0xD8, 0xFF, 0xE0}, f[:4096+frame%7*2]...)
		}
		offsets = append(offsets, at)
		fragments = append(fragments, f)
		at += uint32(8 + len(f) + len(f)&1)
	}
	b.Encapsulated(offsets, fragments...)
}

// RLEFrame compresses little-endian samples of the given width in bytes as
// PS3.5 §G does, in literal runs only.
func RLEFrame(pixels []byte, width int) []byte {
	out := make([]byte, 64)
	binary.LittleEndian.PutUint32(out, uint32(width))
	for segment := range width {
		binary.LittleEndian.PutUint32(out[4+4*segment:], uint32(len(out)))
		run := make([]byte, 0, 128)
		for n := width - 1 - segment; n < len(pixels); n += width {
			if run = append(run, pixels[n]); len(run) == 128 {
				out = append(append(out, 127), run...)
				run = run[:0]
			}
		}
		if len(run) > 0 {
			out = append(append(out, byte(len(run)-1)), run...)
		}
		if len(out)&1 == 1 {
			out = append(out, 0)
		}
	}
	return out
}
