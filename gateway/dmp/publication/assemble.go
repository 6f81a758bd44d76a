package publication

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/gateway/dmp/ins"
	"github.com/esante-alsace/cigogne/gateway/dmp/manifest"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
)

const (
	tagStudyDate         dicom.Tag = 0x00080020
	tagStudyTime         dicom.Tag = 0x00080030
	tagAccessionNumber   dicom.Tag = 0x00080050
	tagModality          dicom.Tag = 0x00080060
	tagSOPClassUID       dicom.Tag = 0x00080016
	tagSOPInstanceUID    dicom.Tag = 0x00080018
	tagInstitutionCode   dicom.Tag = 0x00080082
	tagReferring         dicom.Tag = 0x00080090
	tagCodeValue         dicom.Tag = 0x00080100
	tagCodeMeaning       dicom.Tag = 0x00080104
	tagStudyDescription  dicom.Tag = 0x00081030
	tagSeriesDescription dicom.Tag = 0x0008103E
	tagPatientName       dicom.Tag = 0x00100010
	tagPatientBirthDate  dicom.Tag = 0x00100030
	tagPatientSex        dicom.Tag = 0x00100040
	tagStudyInstanceUID  dicom.Tag = 0x0020000D
	tagSeriesInstanceUID dicom.Tag = 0x0020000E
	tagStudyID           dicom.Tag = 0x00200010
	tagSeriesNumber      dicom.Tag = 0x00200011
	tagInstanceNumber    dicom.Tag = 0x00200013
	tagNumberOfFrames    dicom.Tag = 0x00280008
	structures                     = "1.2.250.1.71.4.2.2" // who numbers structures
	finessPrefix                   = "1"
	mostVersion                    = 1 << 30
)

// content is what a study consists of just now, and whose it is.
type content struct {
	study manifest.Study
	// structure is who speaks for it.
	structure manifest.Structure
	local     index.PatientKey
	// link is by which decision the patient has a national number; nil for one
	// who has none.
	link *index.IdentityChange
	// differ are the traits of the number with which instances that came after
	// the link disagree: they may be another patient's.
	differ []string
	// digest is of the instances and of whose they are; the zero Digest for
	// nothing.
	digest storage.Digest
	// latest is the highest version of which a manifest is stored.
	latest int64
	// instances is how many there are. When they are more than a manifest has,
	// long is true, and the study has no series here.
	instances int64
	long      bool
}

// lack is why no manifest can be made of it: "" when one can, of a patient with
// a qualified identity, for which a structure speaks.
func (c *content) lack() Lack {
	switch {
	case c.instances == 0:
		return LackInstances
	case c.link == nil || ins.Status(c.link.Status) != ins.Qualified:
		return LackIdentity
	case len(c.differ) > 0:
		return LackAgreement
	case c.structure.ID == "":
		return LackStructure
	case c.long:
		return LackRoom
	}
	return ""
}

// manifested tells whether a manifest can be made of it.
func (c *content) manifested() bool { return c.lack() == "" }

// number is the national number of the patient.
func (c *content) number() index.PatientKey { return c.link.National() }

// content looks at a study. One of which there is nothing has no instances,
// and is no error.
func (p *Publisher) content(ctx context.Context, uid string) (*content, error) {
	c := &content{study: manifest.Study{StudyInstanceUID: uid}, structure: p.o.Structure}
	of, err := p.ofStudy(ctx, uid)
	if err != nil || of == nil {
		return c, err
	}
	held, err := p.holding(ctx, uid)
	if err != nil {
		return nil, err
	}
	c.instances, c.long = int64(len(held.sops)), len(held.sops) > p.o.Most
	if err := p.list(ctx, c, held.sops); err != nil {
		return nil, err
	}
	if c.instances == 0 {
		return c, nil
	}
	c.describe(of)
	if c.local.Issuer != "" && c.local.PatientID != "" {
		state, err := p.o.Index.IdentityState(ctx, c.local, index.PatientKey{})
		if err != nil {
			return nil, err
		}
		c.link = state.Link
	}
	if c.link != nil && held.received > c.link.At {
		c.differ = ins.Traits(c.link.Traits).Against(ins.Shown{
			PatientName: of.String(tagPatientName), BirthDate: of.String(tagPatientBirthDate), Sex: of.String(tagPatientSex),
		})
	}
	c.digest = c.sum(held.lines)
	return c, nil
}

// ofStudy is what the index says of the study; nil when there is none.
func (p *Publisher) ofStudy(ctx context.Context, uid string) (of dicom.DataSet, err error) {
	for ds, err := range p.o.Index.Search(ctx, index.Query{Level: index.Study, StudyInstanceUID: uid, IncludeAll: true, Superseded: true, Limit: 1}) {
		if err != nil {
			return nil, err
		}
		of = ds
	}
	return of, nil
}

// holding is what is held of a study, without its manifests.
type holding struct {
	sops  map[string]bool // their SOPInstanceUIDs
	lines []string        // of the content's digest, one for each instance
	// received is when the last of them was.
	received int64
}

func (p *Publisher) holding(ctx context.Context, uid string) (h holding, err error) {
	all, err := p.o.Retrieve.Instances(ctx, gateway.Selector{StudyInstanceUID: uid})
	if errors.Is(err, storage.ErrNotFound) {
		return h, nil
	}
	if err != nil {
		return h, err
	}
	h.sops = make(map[string]bool, len(all))
	for _, in := range all {
		about := in.About()
		if about.Origin.Transport != storage.TransportManifest {
			h.sops[about.Key.SOPInstanceUID] = true
			h.lines = append(h.lines, fmt.Sprintf("%s %s %s\n", about.Key.SeriesInstanceUID, about.Key.SOPInstanceUID, about.Digest))
			h.received = max(h.received, about.Received)
		}
	}
	return h, nil
}

// list fills in the series with their instances, in the order of searches.
// Manifests are no part of what they say; of a study that is too long for one
// nothing else is looked at.
func (p *Publisher) list(ctx context.Context, c *content, held map[string]bool) error {
	own := manifestSeries(c.study.StudyInstanceUID)
	q := index.Query{Level: index.Image, StudyInstanceUID: c.study.StudyInstanceUID, IncludeAll: true, Superseded: true}
	if c.long {
		q.SeriesInstanceUID = own
	}
	for ds, err := range p.o.Search.Find(ctx, q) {
		if err != nil {
			return err
		}
		series, sop := ds.String(tagSeriesInstanceUID), ds.String(tagSOPInstanceUID)
		if series == own {
			if n, err := strconv.ParseInt(strings.TrimSpace(ds.String(tagInstanceNumber)), 10, 64); err == nil && n < mostVersion {
				c.latest = max(c.latest, n)
			}
			continue
		}
		if !held[sop] {
			return fmt.Errorf("%w: the study changes while it is looked at", storage.ErrUnavailable)
		}
		last := len(c.study.Series) - 1
		if last < 0 || c.study.Series[last].SeriesInstanceUID != series {
			c.study.Series = append(c.study.Series, manifest.Series{
				SeriesInstanceUID: series, Modality: ds.String(tagModality),
				Number: ds.String(tagSeriesNumber), Description: ds.String(tagSeriesDescription),
			})
			last++
		}
		frames, _ := strconv.Atoi(ds.String(tagNumberOfFrames)) // 0 for none
		s := &c.study.Series[last]
		s.Instances = append(s.Instances, manifest.Instance{
			SOPClassUID: ds.String(tagSOPClassUID), SOPInstanceUID: sop, Number: ds.String(tagInstanceNumber), Frames: frames,
		})
	}
	if !c.long && c.study.Instances() != len(held) {
		return fmt.Errorf("%w: the study changes while it is looked at", storage.ErrUnavailable)
	}
	return nil
}

// manifestSeries is the series of a study in which its manifests lie.
func manifestSeries(study string) string {
	m := manifest.Manifest{Study: manifest.Study{StudyInstanceUID: study}}
	return m.SeriesInstanceUID()
}

// manifestUID is the SOPInstanceUID of the manifest of a version.
func manifestUID(study string, version int64) string {
	m := manifest.Manifest{Version: int(version), Study: manifest.Study{StudyInstanceUID: study}}
	return m.SOPInstanceUID()
}

// describe takes over what the index says of the study.
func (c *content) describe(of dicom.DataSet) {
	s := &c.study
	s.StudyDate, s.StudyTime, s.StudyID = of.String(tagStudyDate), of.String(tagStudyTime), of.String(tagStudyID)
	s.Description, s.Referring, s.AccessionNumber = of.String(tagStudyDescription), of.String(tagReferring), of.String(tagAccessionNumber)
	c.local = index.PatientOf(of)
	if site, ok := of.Get(tagInstitutionCode); ok && len(site.Items) > 0 {
		if finess := site.Items[0].String(tagCodeValue); finess != "" {
			c.structure = manifest.Structure{Name: site.Items[0].String(tagCodeMeaning), ID: finessPrefix + finess, OID: structures}
		}
	}
}

// sum is the digest of the content. Whose it is is a part of it: a number that
// is linked, or no more, makes a version.
func (c *content) sum(lines []string) storage.Digest {
	h := storage.NewDigester()
	fmt.Fprintf(h, "study %s\n", c.study.StudyInstanceUID)
	if c.link != nil {
		fmt.Fprintf(h, "patient %q %q %q %q\n", c.link.Authority.Key(), c.link.Number, c.link.Traits, c.differ)
	}
	slices.Sort(lines)
	for _, l := range lines {
		h.Write([]byte(l))
	}
	return h.Digest()
}

// manifest is the content as a version that was decided on then.
func (p *Publisher) manifest(c *content, m *index.Manifest) *manifest.Manifest {
	t := c.link.Traits
	return &manifest.Manifest{
		Version: int(m.Version), Created: time.Unix(0, m.Created).UTC().Truncate(time.Second),
		Patient: manifest.Patient{
			Matricule: c.link.Number, Issuer: c.link.Authority,
			Name: t.BirthName + "^" + t.GivenNames, BirthDate: t.BirthDate, Sex: sexOf(t.Sex), BirthPlace: t.BirthPlace,
		},
		Structure: c.structure, Study: c.study, Retrieve: p.o.Root(), Location: p.o.Location,
	}
}

// sexOf is a trait as PatientSex (PS3.3 §C.7.1.1) has it.
func sexOf(trait string) string {
	if trait == "M" || trait == "F" {
		return trait
	}
	return "O"
}
