package puller

import (
	"fmt"
	"hash/crc32"
	"io"
	"sort"

	"github.com/esante-alsace/cigogne/gateway/dicomweb"
	"github.com/esante-alsace/cigogne/storage"
)

// plan is what a study's ZIP file is made of. Between its instances, and behind
// the last one, lie the records of the ZIP format: gaps.
type plan struct {
	dicomweb.Digests
	study string
}

// newPlan checks what the gateway says, so that nothing lies where it could do
// harm. The error wraps storage.ErrInvalid.
func newPlan(study string, d dicomweb.Digests) (*plan, error) {
	end := int64(0)
	seen := make(map[storage.InstanceKey]bool, len(d.Instances))
	for _, in := range d.Instances {
		key := storage.InstanceKey{StudyInstanceUID: study, SeriesInstanceUID: in.SeriesInstanceUID, SOPInstanceUID: in.SOPInstanceUID}
		if err := key.Validate(); err != nil {
			return nil, err
		}
		file := storage.Range{Offset: in.Offset, Length: in.Size}
		if seen[key] || in.Size <= 0 || in.Offset < end || !file.Within(d.Size) || in.Prefix < 0 || in.Prefix > in.Size {
			return nil, fmt.Errorf("%w: instance %s lies nowhere in the ZIP file", storage.ErrInvalid, in.SOPInstanceUID)
		}
		seen[key] = true
		end = file.End()
	}
	if d.ETag == "" || len(d.Instances) == 0 {
		return nil, fmt.Errorf("%w: the study has no instances", storage.ErrInvalid)
	}
	return &plan{Digests: d, study: study}, nil
}

// member is an instance, whichever ZIP file it lies in.
type member struct {
	instance string
	digest   storage.Digest
}

func memberOf(in dicomweb.DigestOf) member { return member{in.SOPInstanceUID, in.Digest} }

// file is where instance i lies.
func (p *plan) file(i int) storage.Range {
	return storage.Range{Offset: p.Instances[i].Offset, Length: p.Instances[i].Size}
}

// gap is what lies before instance i.
func (p *plan) gap(i int) storage.Range {
	begin := int64(0)
	if i > 0 {
		begin = p.file(i - 1).End()
	}
	return storage.Range{Offset: begin, Length: p.Instances[i].Offset - begin}
}

// withGap is where instance i lies, with the gap before it.
func (p *plan) withGap(i int) storage.Range {
	gap := p.gap(i)
	return storage.Range{Offset: gap.Offset, Length: gap.Length + p.Instances[i].Size}
}

// last is where the last instance ends, and rest is what lies behind it.
func (p *plan) last() int64 { return p.file(len(p.Instances) - 1).End() }

func (p *plan) rest() storage.Range {
	return storage.Range{Offset: p.last(), Length: p.Size - p.last()}
}

// at is the first instance that ends behind an offset; there may be none.
func (p *plan) at(offset int64) int {
	return sort.Search(len(p.Instances), func(i int) bool { return p.file(i).End() > offset })
}

// sums takes the sums of an instance as it passes.
type sums struct {
	skip   int64 // bytes before the Data Set
	crc    uint32
	digest *storage.Digester
}

func newSums(in dicomweb.DigestOf) *sums {
	return &sums{skip: in.Prefix, digest: storage.NewDigester()}
}

// Write implements io.Writer.
func (s *sums) Write(b []byte) (int, error) {
	s.crc = crc32.Update(s.crc, crc32.IEEETable, b)
	before := min(s.skip, int64(len(b)))
	s.skip -= before
	s.digest.Write(b[before:])
	return len(b), nil
}

// are tells whether they are those of the instance.
func (s *sums) are(in dicomweb.DigestOf) bool {
	return s.skip == 0 && s.crc == in.CRC32 && s.digest.Digest() == in.Digest
}

// verify reads a stored instance again and tells whether it is whole.
func verify(f io.ReaderAt, in dicomweb.DigestOf, buf []byte) (bool, error) {
	s := newSums(in)
	n, err := io.CopyBuffer(s, struct{ io.Reader }{io.NewSectionReader(f, 0, in.Size)}, buf)
	return err == nil && n == in.Size && s.are(in), err
}
