// Package indextest makes plausible regional populations of studies, always
// the same for the same seed, and a naive index to hold the real one against.
// Nobody in it exists.
package indextest

import (
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
)

// Population describes studies by their number: equal populations have equal
// studies, and any of them can be made without the others.
type Population struct {
	Seed uint64
	// MaxSeries and MaxInstances bound a study's series and a series'
	// instances; 0 means 3 and 4.
	MaxSeries, MaxInstances int
	// Journal is where its instances lie; "" means "node-1".
	Journal index.JournalID
}

// Study is study number n, its instances in the order in which they come and
// their journal positions in ascending order.
func (p Population) Study(n int) []index.Instance {
	rng, patient, kind, site, day := p.draw(n)
	date := time.Date(2015, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, day)
	study := fmt.Sprintf("1.2.826.0.1.3680043.10.1.%d.%d", p.Seed, n)
	common := dicom.DataSet{
		text(0x00080020, "DA", date.Format("20060102")),
		text(0x00080030, "TM", fmt.Sprintf("%02d%02d%02d.%03d", rng.IntN(24), rng.IntN(60), rng.IntN(60), rng.IntN(1000))),
		text(0x00080050, "SH", fmt.Sprintf("%s%08d", site.prefix, n)),
		text(0x00080090, "PN", doctors()[rng.IntN(len(doctors()))]),
		text(0x00081030, "LO", kind.description),
		text(0x0020000D, "UI", study),
		text(0x00200010, "SH", strconv.Itoa(n)),
	}
	common = union(common, patient)
	var out []index.Instance
	for e := range 1 + rng.IntN(bound(p.MaxSeries, 3)) {
		uid := fmt.Sprintf("%s.%d", study, e+1)
		own := dicom.DataSet{
			text(0x00080060, "CS", kind.modality),
			text(0x00080070, "LO", kind.manufacturer),
			text(0x00080080, "LO", site.name),
			text(0x0008103E, "LO", fmt.Sprintf("%s %d", kind.description, e+1)),
			text(0x00180015, "CS", kind.bodyPart),
			text(0x0020000E, "UI", uid),
			text(0x00200011, "IS", strconv.Itoa(e+1)),
			text(0x00400244, "DA", date.Format("20060102")),
			{Tag: 0x00400275, VR: "SQ", Items: []dicom.DataSet{{
				text(0x00400007, "LO", kind.description),
				text(0x00400009, "SH", fmt.Sprintf("SPS%d", n)),
				text(0x00401001, "SH", fmt.Sprintf("RP%d", n/2)),
			}}},
		}
		for i := range 1 + rng.IntN(bound(p.MaxInstances, 4)) {
			in := p.instance(n, e, i, kind)
			in.Key = storage.InstanceKey{StudyInstanceUID: study, SeriesInstanceUID: uid, SOPInstanceUID: fmt.Sprintf("%s.%d", uid, i+1)}
			in.Received = date.UnixNano() + int64(n*1000+e*100+i)
			in.Digest = storage.DigestOf([]byte(in.Key.SOPInstanceUID))
			in.Attributes = union(union(common, own), dicom.DataSet{
				text(0x00080016, "UI", kind.class),
				text(0x00080018, "UI", in.Key.SOPInstanceUID),
				text(0x00200013, "IS", strconv.Itoa(i+1)),
				text(0x00280010, "US", "512"),
				text(0x00280011, "US", "512"),
				text(0x00280100, "US", "16"),
			})
			out = append(out, in)
		}
	}
	return out
}

// Days is how many days the studies of a population spread over.
const Days = 4000

// Day is the day of study number n, from 0 on: the first thing to know of it
// for who wants them in the order in which they would come.
func (p Population) Day(n int) int {
	_, _, _, _, day := p.draw(n)
	return day
}

// draw draws what all instances of a study have in common.
func (p Population) draw(n int) (rng *rand.Rand, patient dicom.DataSet, k kind, s site, day int) {
	rng = rand.New(rand.NewPCG(p.Seed, uint64(n)))
	patient = newPatient(rng)
	k, s = kinds()[rng.IntN(len(kinds()))], sites()[rng.IntN(len(sites()))]
	return rng, patient, k, s, rng.IntN(Days)
}

func bound(n, otherwise int) int {
	if n > 0 {
		return n
	}
	return otherwise
}

func (p Population) instance(n, e, i int, k kind) index.Instance {
	journal := p.Journal
	if journal == "" {
		journal = "node-1"
	}
	return index.Instance{
		Instance: storage.Instance{
			SOPClassUID:       k.class,
			TransferSyntaxUID: "1.2.840.10008.1.2.1",
			Size:              int64(1000 + 512*i),
			Prefix:            342,
			CRC32:             crc32.ChecksumIEEE([]byte{byte(n), byte(e), byte(i)}),
			Origin:            storage.Origin{Transport: "dimse", CallingAETitle: "SCANNER", CalledAETitle: "CIGOGNE"},
		},
		At: index.Position{Journal: journal, Segment: uint64(1 + n/100), Offset: int64(n%100)*1_000_000 + int64(e)*10_000 + int64(i)*100},
	}
}

// Altered is the instance as another Data Set under the same names: what makes
// a conflict.
func Altered(in index.Instance, how byte) index.Instance {
	in.Digest[0] ^= how | 1
	in.Attributes = union(dicom.DataSet{text(0x00280010, "US", strconv.Itoa(256+int(how)))}, in.Attributes)
	return in
}

// With is the instance with other values of attributes.
func With(in index.Instance, other ...dicom.Element) index.Instance {
	for _, e := range other {
		in.Attributes = union(dicom.DataSet{e}, in.Attributes)
	}
	return in
}

// Text is an element of one value.
func Text(tag dicom.Tag, vr dicom.VR, v string) dicom.Element { return text(tag, vr, v) }

func text(tag dicom.Tag, vr dicom.VR, v string) dicom.Element {
	if v == "" {
		return dicom.Element{Tag: tag, VR: vr}
	}
	return dicom.Element{Tag: tag, VR: vr, Values: []string{v}}
}

// union is both Data Sets sorted; a stands where both have a tag.
func union(a, b dicom.DataSet) dicom.DataSet {
	out := make(dicom.DataSet, 0, len(a)+len(b))
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0].Tag < b[0].Tag:
			out, a = append(out, a[0]), a[1:]
		case len(a) == 0 || a[0].Tag > b[0].Tag:
			out, b = append(out, b[0]), b[1:]
		default:
			out, a, b = append(out, a[0]), a[1:], b[1:]
		}
	}
	return out
}
