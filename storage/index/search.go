package index

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
)

// Candidates are read this many at a time; in between nothing is held, so a
// slow reader of answers keeps nothing from going on.
const (
	firstChunk = 64 // where it is not known how many are wanted
	lastChunk  = 2048
)

// Search answers a query at the Study or Series level, each answer sorted by
// tag. The order is StudyDate, newest first and studies without one last, then
// StudyInstanceUID, then SeriesInstanceUID: it depends on nothing but the
// answers. Each few hundred answers are of one moment. An invalid query is
// storage.ErrInvalid, one that takes longer than Options.MaxSearch is
// storage.ErrTooLarge, one at the Image level is storage.ErrUnsupported: see
// Images. The end of ctx ends it.
func (x *Index) Search(ctx context.Context, q Query) iter.Seq2[dicom.DataSet, error] {
	return func(yield func(dicom.DataSet, error) bool) {
		m, err := Compile(q)
		if err == nil && q.Level == Image {
			err = fmt.Errorf("%w: Search at the Image level", storage.ErrUnsupported)
		}
		if err != nil {
			yield(nil, err)
			return
		}
		left := x.o.MaxResults
		if q.Limit > 0 {
			left = min(left, q.Limit)
		}
		skip, sqlSkip := q.Offset, 0
		if len(m.conditions) == 0 {
			skip, sqlSkip = 0, q.Offset
		}
		for c, err := range x.candidates(ctx, m, q.Level, left+min(skip, lastChunk), sqlSkip) {
			if err != nil {
				yield(nil, err)
				return
			}
			if !m.Matches(c.attributes) {
				continue
			}
			if skip > 0 {
				skip--
				continue
			}
			if !yield(m.Answer(c.attributes), nil) {
				return
			}
			if left--; left == 0 {
				return
			}
		}
	}
}

// candidates yields what SQL lets through in the order of the answer, at the
// Study or Series level; few is how many are likely to be wanted: when SQL lets
// through what the Matcher does, no more are read.
func (x *Index) candidates(ctx context.Context, m *Matcher, l Level, few, skip int) iter.Seq2[found, error] {
	return func(yield func(found, error) bool) {
		n := m.narrowing()
		after := m.query.start()
		left := x.o.MaxSearch
		for size := min(few, lastChunk/4); ; size = min(4*size, lastChunk) {
			began := time.Now()
			chunk, err := x.chunkWithin(ctx, left, n, l, after, size, skip)
			left -= time.Since(began)
			if err != nil {
				yield(found{}, err)
				return
			}
			for _, f := range chunk {
				if !yield(f, nil) {
					return
				}
			}
			if len(chunk) < size {
				return
			}
			after, skip = chunk[len(chunk)-1].cursor, 0
		}
	}
}

func (x *Index) tooLong() error {
	return fmt.Errorf("%w: the search took longer than %v: ask for fewer studies, by patient or date", storage.ErrTooLarge, x.o.MaxSearch)
}

// chunkWithin is chunk for no longer than left.
func (x *Index) chunkWithin(ctx context.Context, left time.Duration, n *narrow, l Level, after cursor, limit, skip int) ([]found, error) {
	bounded, cancel := context.WithTimeout(ctx, left)
	defer cancel()
	var chunk []found
	err := x.settlePlan(bounded, n)
	if err == nil {
		chunk, err = x.chunk(bounded, n, l, after, limit, skip)
	}
	if err != nil && bounded.Err() != nil {
		if err = ctx.Err(); err == nil { // SQLite's own word for it is 'interrupted'
			err = x.tooLong()
		}
	}
	return chunk, err
}

func (x *Index) chunk(ctx context.Context, n *narrow, l Level, after cursor, limit, skip int) ([]found, error) {
	if len(n.names) > mostArms {
		return x.chunkByDays(ctx, n, l, after, limit)
	}
	inner, args := n.ids(l, after, limit, skip)
	return x.rows(ctx, l, inner, args, limit)
}

// Images yields the series that may hold answers to a query at the Image
// level: those that the conditions on patient, study and series let through,
// in the order of Search. The caller reads the metadata of Packs and asks
// Matcher.Answers; Limit and Offset count answers, and are left to it. When
// the Matcher is not Selective, every one of Instances is an answer.
//
// A condition on SOPInstanceUID leaves only the packs that hold one of them.
// Without a study or another selective condition beside it all packs' members
// are read, which takes long: the index has no table of archived instances.
func (x *Index) Images(ctx context.Context, q Query) iter.Seq2[ImageSeries, error] {
	return func(yield func(ImageSeries, error) bool) {
		m, err := Compile(q)
		if err == nil && q.Level != Image {
			err = fmt.Errorf("%w: Images above the Image level", storage.ErrUnsupported)
		}
		if err != nil {
			yield(ImageSeries{}, err)
			return
		}
		sops, left := m.sops(), x.o.MaxSearch // for looking where they lie
		for f, err := range x.candidates(ctx, m, Image, firstChunk, 0) {
			if err == nil && !m.matchesLevel(f.attributes, Series) {
				continue
			}
			s := ImageSeries{StudyInstanceUID: f.study, SeriesInstanceUID: f.series, Attributes: f.attributes, Instances: f.instances, Stands: f.stands, manifests: f.manifests > 0}
			if q.Superseded {
				s.Instances += int(superseded(int64(f.manifests), f.stands))
			}
			if err == nil {
				began := time.Now()
				err = x.locate(ctx, &s, sops)
				if left -= time.Since(began); err == nil && left < 0 {
					err = x.tooLong()
				}
			}
			if err != nil {
				yield(ImageSeries{}, err)
				return
			}
			if len(s.Live)+len(s.Packs) > 0 && !yield(s, nil) {
				return
			}
		}
	}
}

// sops are the SOPInstanceUIDs that are asked for, or nil for all.
func (m *Matcher) sops() uids {
	for i := range m.conditions {
		if u, ok := m.conditions[i].want.(uids); ok && m.conditions[i].tag == tagSOPInstanceUID {
			return u
		}
	}
	return nil
}

// locate reads where the instances of a series lie, at one moment.
func (x *Index) locate(ctx context.Context, s *ImageSeries, sops uids) error {
	tx, err := x.read.begin(ctx)
	if err != nil {
		return fmt.Errorf("index: %w", failed(err))
	}
	defer tx.end(ctx)
	live, err := x.liveRows(ctx, tx, `SELECT 0, coalesce(p.name, ''), i.record, i.attributes
		FROM study s JOIN series e ON e.study = s.id JOIN instance i ON i.series = e.id LEFT JOIN pack p ON p.id = i.pack
		WHERE s.uid = ? AND e.uid = ? ORDER BY i.number, i.sop`, s.StudyInstanceUID, s.SeriesInstanceUID)
	if err != nil {
		return err
	}
	packs, err := x.packs(ctx, tx, Selector{StudyInstanceUID: s.StudyInstanceUID, SeriesInstanceUID: s.SeriesInstanceUID})
	if err != nil {
		return err
	}
	for _, in := range live {
		if sops == nil || sops.match(in.Key.SOPInstanceUID) {
			s.Live = append(s.Live, in)
		}
	}
	for _, p := range packs {
		if sops == nil || p.Members.anyOf(sops) {
			s.Packs = append(s.Packs, p)
		}
	}
	return nil
}

// anyOf tells whether the pack holds an instance of one of the names.
func (m Members) anyOf(sops uids) bool {
	for sop := range sops {
		if m.Named(sop) {
			return true
		}
	}
	return false
}

// Conflicts yields the instances that are kept aside and match the query, in
// the order of coming; their Attributes are of all levels. Those that are
// archived have the zero Position and the PackID of the pack that holds them.
// Limit 0 means the bound of the index.
func (x *Index) Conflicts(ctx context.Context, q Query) iter.Seq2[LiveInstance, error] {
	return func(yield func(LiveInstance, error) bool) {
		q.Level = Image
		m, err := Compile(q)
		if err != nil {
			yield(LiveInstance{}, err)
			return
		}
		left, skip := x.o.MaxResults, q.Offset
		if q.Limit > 0 {
			left = min(left, q.Limit)
		}
		for last := int64(0); ; {
			chunk, next, err := x.conflictChunk(ctx, q, last)
			if err != nil {
				yield(LiveInstance{}, err)
				return
			}
			for _, in := range chunk {
				if !m.Matches(in.Attributes) {
					continue
				}
				if skip--; skip >= 0 {
					continue
				}
				if !yield(in, nil) {
					return
				}
				if left--; left == 0 {
					return
				}
			}
			if last = next; len(chunk) < lastChunk/8 {
				return
			}
		}
	}
}

func (x *Index) conflictChunk(ctx context.Context, q Query, after int64) (chunk []LiveInstance, last int64, err error) {
	err = each(ctx, x.read, `SELECT c.id, c.why, c.live, coalesce(p.name, ''), c.record, c.attributes
		FROM conflict c LEFT JOIN pack p ON p.id = c.pack
		WHERE c.id > ?1 AND (?2 = '' OR c.study = ?2) AND (?3 = '' OR c.series = ?3) ORDER BY c.id LIMIT ?4`,
		[]any{after, q.StudyInstanceUID, q.SeriesInstanceUID, lastChunk / 8}, func(rows *sql.Rows) error {
			var in LiveInstance
			var live bool
			var record, attributes []byte
			if err := rows.Scan(&last, &in.Why, &live, &in.PackID, &record, &attributes); err != nil {
				return err
			}
			err := x.unpack(&in.Instance, record, attributes)
			if !live {
				in.At = Position{}
			}
			chunk = append(chunk, in)
			return err
		})
	return chunk, last, err
}

// Describe says in one line what the query asks, without patient data, for
// logs. What is too much to be asked is not all said.
func (q Query) Describe() string {
	var b strings.Builder
	fmt.Fprintf(&b, "level %d", q.Level)
	for _, c := range q.Match[:min(len(q.Match), maxConditions)] {
		for i, t := range c.Path[:min(len(c.Path), maxPath)] {
			b.WriteString([]string{" ", "."}[min(i, 1)] + t.String())
		}
	}
	return b.String()
}
