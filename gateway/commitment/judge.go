package commitment

import (
	"context"
	"errors"
	"slices"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

// standing is how one instance stands that a request names.
type standing int

const (
	// unknown: it is not there, or not the asker's to know of. Both are one,
	// also in how long the answer takes.
	unknown standing = iota
	waiting          // to be archived, or for an archive to answer
	committed
	conflicting // it is of another SOP class
	aside       // another of its SOPInstanceUID is kept aside
)

// judgement is how the instances of a request stand.
type judgement struct {
	of        []standing // by their number
	committed []index.CommittedSeries
	studies   []string // in which they are
	whole     []string // studies all of whose instances are committed
	why       error    // an archive that does not answer
}

func (j *judgement) count(s standing) (n int) {
	for _, of := range j.of {
		if of == s {
			n++
		}
	}
	return n
}

// failures are those that are not committed, by now.
func (j *judgement) failures() (failed []index.FailedReference) {
	for i, of := range j.of {
		reason := ProcessingFailure
		switch of {
		case committed:
			continue
		case unknown:
			reason = NoSuchInstance
		case conflicting:
			reason = ClassConflict
		case waiting, aside:
		}
		failed = append(failed, index.FailedReference{Reference: i, Reason: uint16(reason)})
	}
	return failed
}

// judge looks where the instances of a request are: those that lie in no study
// in which others do are looked for in as many packs, the newest first.
func (c *Committer) judge(ctx context.Context, e *index.CommitmentEntry, studies []string, packs int) (*judgement, error) {
	asked, _, err := c.o.Index.CommitmentLists(ctx, e.CommitmentID)
	if err != nil {
		return nil, err
	}
	by, references := e.Origin.Sender, flat(asked)
	sops := make([]string, len(references))
	for i, r := range references {
		sops[i] = r.SOPInstanceUID
	}
	in, err := c.o.Index.NamedStudies(ctx, sops, studies, packs)
	if err != nil {
		return nil, err
	}
	kept, err := c.keptAside(ctx, by, sops)
	if err != nil {
		return nil, err
	}
	j := &judgement{of: make([]standing, len(references))}
	byStudy := map[string][]int{}
	for i, sop := range sops {
		if kept[sop] {
			j.of[i] = aside
		} else if study, ok := in[sop]; ok {
			byStudy[study] = append(byStudy[study], i)
		}
	}
	for study := range byStudy {
		j.studies = append(j.studies, study)
	}
	slices.Sort(j.studies)
	for _, study := range j.studies {
		if err := c.judgeStudy(ctx, j, by, study, references, byStudy[study]); err != nil {
			return nil, err
		}
	}
	return j, nil
}

// keptAside tells of which names the asker's site sent what is kept aside: who
// is told of such a name that it is committed might think of those bytes.
func (c *Committer) keptAside(ctx context.Context, by storage.Sender, sops []string) (map[string]bool, error) {
	all, err := c.o.Index.AsideNamed(ctx, sops)
	kept := map[string]bool{}
	for _, in := range all {
		if c.theirs(by, in.Origin) {
			kept[in.Key.SOPInstanceUID] = true
		}
	}
	return kept, err
}

// theirs tells whether an instance came from the asker's site. Those of no site
// are one in this.
func (c *Committer) theirs(by storage.Sender, o storage.Origin) bool {
	site, err := c.o.Sites.SenderOf(o)
	return err == nil && site.Info().Name == by.Info().Name
}

// judgeStudy looks at the instances numbers of the references, which lie in a
// study. A study that changes meanwhile is looked at again the next time.
func (c *Committer) judgeStudy(ctx context.Context, j *judgement, by storage.Sender, study string, references []Reference, numbers []int) error {
	all, err := c.o.Retrieve.Instances(ctx, gateway.Selector{StudyInstanceUID: study})
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err != nil { // the archive that has it does not answer, or the index
		for _, i := range numbers {
			j.of[i] = waiting
		}
		j.why = err
		return ctx.Err()
	}
	packs, err := c.o.Index.Packs(ctx, index.Selector{StudyInstanceUID: study})
	if err != nil {
		return err
	}
	packs = slices.DeleteFunc(packs, func(p index.Pack) bool { return c.copies(&p) < c.o.Copies })
	found, total := known(all)
	series := map[string]*index.CommittedSeries{}
	for _, i := range numbers {
		about, ok := found[references[i].SOPInstanceUID]
		switch {
		case !ok || !c.theirs(by, about.Origin):
		case about.SOPClassUID != references[i].SOPClassUID:
			j.of[i] = conflicting
		case !slices.ContainsFunc(packs, func(p index.Pack) bool { return p.Members.Holds(about.Key.SOPInstanceUID, about.Digest) }):
			j.of[i] = waiting
		default:
			j.of[i] = committed
			s := series[about.Key.SeriesInstanceUID]
			if s == nil {
				s = &index.CommittedSeries{StudyInstanceUID: study, SeriesInstanceUID: about.Key.SeriesInstanceUID}
				series[about.Key.SeriesInstanceUID] = s
			}
			s.Instances++
			s.Bytes += about.Size
			total--
		}
	}
	if total == 0 {
		j.whole = append(j.whole, study)
	}
	j.add(series)
	return nil
}

// known are instances by their SOPInstanceUID, and how many of them are no
// manifests.
func known(all []gateway.Instance) (found map[string]storage.Instance, others int) {
	found = make(map[string]storage.Instance, len(all))
	for _, in := range all {
		about := in.About()
		found[about.Key.SOPInstanceUID] = about
		if about.Origin.Transport != storage.TransportManifest {
			others++
		}
	}
	return found, others
}

func (j *judgement) add(series map[string]*index.CommittedSeries) {
	for _, s := range series {
		j.committed = append(j.committed, *s)
	}
}
