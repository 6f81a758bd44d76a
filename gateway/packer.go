package gateway

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/archive/set"
	"github.com/esante-alsace/cigogne/storage/failpoint"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/pack"
	"github.com/esante-alsace/cigogne/storage/trace"
)

// write puts one planned pack into the archive and records that it is there.
func (a *Archiver) write(ctx context.Context, p index.Plan) error {
	began := time.Now()
	members, at, err := a.members(ctx, p)
	if err != nil {
		return err
	}
	ctx, span := a.o.Tracer.Begin(ctx, StepPut.String(), a.o.Trails.at(at)...)
	span.Number("instances", int64(len(members)))
	key := pack.Key(p.StudyInstanceUID, p.SeriesInstanceUID, p.PackID, p.Conflict)
	put, err := a.writeMembers(ctx, p, key, members)
	span.Number("bytes", put.Size)
	span.Done(err)
	if err != nil {
		return err
	}
	a.took(began, members)
	a.o.Trails.archived(at, received(members), span.Place())
	removed, err := removedMeanwhile(ctx, a.o.Index, p.PackID, key)
	if err != nil {
		return err
	}
	if removed {
		return a.o.Archive.Remove(ctx, key)
	}
	a.o.Logger.InfoContext(ctx, "archived", "pack", p.PackID, "key", key, "instances", len(members), "bytes", put.Size, "copies", len(put.Archives))
	return nil
}

// writeMembers builds the pack, puts it and proposes that it is there.
func (a *Archiver) writeMembers(ctx context.Context, p index.Plan, key string, members []pack.Member) (set.Result, error) {
	began := time.Now()
	packed, err := pack.Build(ctx, pack.Options{
		SpoolDir: a.o.SpoolDir, Conflict: p.Conflict, Compression: pack.Compression(p.Compression),
	}, members)
	if err != nil {
		return set.Result{}, err
	}
	defer packed.Close()
	put, err := a.put(ctx, key, packed)
	if errors.Is(err, storage.ErrConflict) {
		put, err = a.adopt(ctx, key, packed, err)
	}
	if err != nil {
		return put, err
	}
	failpoint.Pass(failpoint.Put)
	copies := copiesOf(p.PackID, key, put, a.o.Now())
	for i := range copies {
		copies[i].Took = int64(time.Since(began))
	}
	return put, a.o.Proposer.Propose(ctx, index.Batch{Archived: copies})
}

// took tells how long it took to archive a pack, and its last instance.
func (a *Archiver) took(began time.Time, members []pack.Member) {
	var newest time.Time
	for _, at := range received(members) {
		if at.After(newest) {
			newest = at
		}
	}
	a.o.Clock.Took(StepPut, time.Since(began))
	a.o.Clock.Took(StepArchive, a.o.Now().Sub(newest))
}

// received is when each of the members was.
func received(members []pack.Member) []time.Time {
	all := make([]time.Time, len(members))
	for i := range members {
		all[i] = time.Unix(0, members[i].Received)
	}
	return all
}

// Copier is an archive that is several: set.Set.
type Copier interface {
	archive.Archive
	PutCopies(ctx context.Context, key string, src archive.Source) (set.Result, error)
	Repair(ctx context.Context, key string, want set.Want) (set.Result, error)
}

// put puts a pack into the archive, or into as many as there must be copies.
func (a *Archiver) put(ctx context.Context, key string, src archive.Source) (_ set.Result, err error) {
	ctx, span := trace.Start(ctx, "archive put")
	defer func() { span.Done(err) }()
	if several, ok := a.o.Archive.(Copier); ok {
		return several.PutCopies(ctx, key, src)
	}
	crc, err := a.o.Archive.Put(ctx, key, src)
	return set.Result{Size: src.Size(), CRC32C: crc, Archives: []string{a.o.Archive.String()}}, err
}

// copiesOf is what the index is told of the archives that have a pack.
func copiesOf(packID, key string, put set.Result, at time.Time) (copies []index.PackArchive) {
	for _, name := range put.Archives {
		copies = append(copies, index.PackArchive{
			PackID: packID, Archive: name, Key: key, Size: put.Size, CRC32C: put.CRC32C, At: at.UnixNano(),
		})
	}
	return copies
}

// adopt takes a pack that lies in the archive already in other bytes, when it
// is sound and holds the very same instances: another version of the program,
// with another compressor, wrote it before a crash. What is stored is then put
// in place of what was built, so that further copies are of the same bytes.
// Archives that hold different bytes already are left to a person.
func (a *Archiver) adopt(ctx context.Context, key string, packed *pack.Pack, conflict error) (set.Result, error) {
	st, err := a.o.Archive.Stat(ctx, key)
	if err != nil {
		return set.Result{}, errors.Join(conflict, err)
	}
	blob := &packBlob{archive: a.o.Archive, key: key, size: st.Size}
	directory, err := pack.ReadDirectory(ctx, blob)
	if err != nil || !packed.Matches(directory) {
		return set.Result{}, errors.Join(conflict, err)
	}
	if err := sound(ctx, blob); err != nil {
		return set.Result{}, errors.Join(conflict, err)
	}
	return a.put(ctx, key, blob)
}

// sound reads a pack to its last byte; one that is damaged is
// storage.ErrCorrupt.
func sound(ctx context.Context, blob *packBlob) error {
	var damage error
	err := pack.Verify(ctx, blob, func(problem string) { damage = fmt.Errorf("%w: %s", storage.ErrCorrupt, problem) })
	return errors.Join(err, damage)
}

// soundChecksum is the CRC-32C of a pack that is sound.
func soundChecksum(ctx context.Context, blob *packBlob) (uint32, error) {
	if err := sound(ctx, blob); err != nil {
		return 0, err
	}
	body, err := blob.Open(ctx, storage.Range{Length: blob.size})
	if err != nil {
		return 0, err
	}
	defer body.Close()
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	_, err = io.Copy(sum, body)
	return sum.Sum32(), err
}

// errUnplanned: what the plan is of was deleted meanwhile, and the plan with
// it, or another node of the cluster has finished it.
var errUnplanned = errors.New("no longer planned")

// members are the plan's instances in the plan's order, as they lie in the
// journal, and where that is.
func (a *Archiver) members(ctx context.Context, p index.Plan) ([]pack.Member, []index.Position, error) {
	live, err := a.o.Index.Where(ctx, index.Selector{
		StudyInstanceUID: p.StudyInstanceUID, SeriesInstanceUID: p.SeriesInstanceUID, Conflicts: p.Conflict,
	})
	if err != nil {
		return nil, nil, err
	}
	by := make(map[memberID]index.LiveInstance, len(live))
	for _, in := range live {
		by[idOf(in.Instance.Instance)] = in
	}
	members, positions := make([]pack.Member, len(p.SOPs)), make([]index.Position, len(p.SOPs))
	for i, sop := range p.SOPs {
		in, ok := by[memberID{sop, p.Members[i]}]
		if !ok {
			if planned, err := a.o.Index.IsPlanned(ctx, p.PackID); err == nil && !planned {
				return nil, nil, errUnplanned
			}
			return nil, nil, fmt.Errorf("%w: planned instance %s is not in the journal", storage.ErrCorrupt, sop)
		}
		j := newJournaled(in, a.o.Journals)
		layout, err := j.Layout(ctx)
		if err != nil {
			return nil, nil, err
		}
		positions[i] = in.At
		members[i] = pack.Member{
			Instance: in.Instance.Instance, Layout: layout, Open: j.Open, WriteMetadata: j.writeMetadata,
		}
	}
	return members, positions, nil
}
