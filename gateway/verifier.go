package gateway

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"time"

	"github.com/dustin/go-humanize/english"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/archive/set"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/pack"
)

// Fault is what is wrong with a copy of a pack.
type Fault string

const (
	// Lost: the archive does not have it, and the index says that it has.
	Lost Fault = "lost"
	// Damaged: its bytes are not those that were put.
	Damaged Fault = "damaged"
	// Unreachable: the archive does not answer, so that nothing is known of
	// this copy and of those that come after it.
	Unreachable Fault = "unreachable"
	// Foreign: it lies in an archive that is not configured.
	Foreign Fault = "foreign"
	// Stray: the index does not know it.
	Stray Fault = "stray"
	// Astray: it holds an instance that the index does not have.
	Astray Fault = "astray"
	// Newer: it is a note of a deletion, of holds or retention that the index
	// does not know, as after it was restored from a backup.
	Newer Fault = "newer"
)

// Finding is something that is wrong with a copy of a pack.
type Finding struct {
	Fault   Fault
	PackID  string
	Key     string
	Archive string
	// What says it in plain words.
	What string
	// Repaired is true when the copy is as it should be again.
	Repaired bool
}

// String is the finding as a line for people.
func (f Finding) String() string {
	kind := "pack"
	if f.Fault == Newer {
		kind = "note"
	}
	s := fmt.Sprintf("archive %s: %s %s is %s: %s", f.Archive, kind, f.Key, f.Fault, f.What)
	if f.Repaired {
		s += "; it was repaired"
	}
	return s
}

// VerifierOptions are what a Verifier works with.
type VerifierOptions struct {
	Index *index.Index
	// Archives are those in which packs lie, found by their names.
	Archives []archive.Archive
	// Repair brings lost and damaged copies back, and packs to the archives
	// that do not have them yet; nil leaves everything as it is.
	Repair Copier
	// Proposer records what the index does not know yet: copies that were
	// made, and checksums after a rebuild; nil leaves that to the node.
	Proposer Proposer
	// Instances has each instance looked up in the index as well.
	Instances bool
	// Finding is told what is wrong; nil is nobody.
	Finding func(Finding)
	// Read is told of the bytes that were read, as they come; nil is nobody.
	Read func(bytes int)
	// Copied is told after each copy; nil is nobody.
	Copied func()
}

// Verified counts what was verified.
type Verified struct {
	Packs, Copies, Instances int
	Bytes                    int64
	// Findings are all that were told, Repaired those of them that are no more.
	Findings, Repaired int
	// Brought are the copies that were made where there were too few.
	Brought int
}

// Verifier reads packs from the archives and holds them against what the
// index says of them, to the last byte and every instance's digest. It changes
// nothing in the index and needs no journal: it works beside a running node,
// on an index that is open for reading only.
type Verifier struct {
	o     VerifierOptions
	named map[string]archive.Archive
	away  map[string]bool // archives that do not answer
	done  Verified
}

// NewVerifier returns a Verifier, for use by one goroutine.
func NewVerifier(o VerifierOptions) *Verifier {
	v := &Verifier{o: o, named: map[string]archive.Archive{}, away: map[string]bool{}}
	for _, a := range o.Archives {
		v.named[a.String()] = a
	}
	return v
}

// longestFinding bounds a finding's words, in bytes.
const longestFinding = 1000

// verifyList is how many packs are read from the index at once.
const verifyList = 64

// All verifies every pack that the index names.
func (v *Verifier) All(ctx context.Context) (Verified, error) {
	for after := int64(0); ; {
		packs, last, err := v.o.Index.PacksAfter(ctx, after, verifyList)
		if err != nil || len(packs) == 0 {
			return v.done, err
		}
		for _, p := range packs {
			if _, err := v.Pack(ctx, p); err != nil {
				return v.done, err
			}
		}
		after = last
	}
}

// Done is what was verified so far.
func (v *Verifier) Done() Verified { return v.done }

// Pack verifies the copies of one pack, repairs what can be, and returns what
// it told. The error is of the verification itself.
func (v *Verifier) Pack(ctx context.Context, p index.Pack) ([]Finding, error) {
	v.done.Packs++
	found, sound, err := v.copies(ctx, p)
	if err != nil || len(found) == 0 && (v.o.Repair == nil || len(p.Copies) == len(v.named)) {
		return nil, err
	}
	// The pack may have been removed meanwhile, by right.
	now, state, err := v.o.Index.PackNamed(ctx, p.PackID)
	if err != nil || state != index.PackArchived {
		return nil, err
	}
	if v.o.Repair != nil && len(sound) > 0 {
		if err := v.repair(ctx, now, sound[0], found); err != nil {
			return nil, err
		}
	}
	for _, f := range found {
		v.tell(f)
	}
	return found, nil
}

// copies verifies the copies of a pack, and returns those that are sound, with
// their checksums.
func (v *Verifier) copies(ctx context.Context, p index.Pack) (found []Finding, sound []index.PackArchive, err error) {
	var learned []index.PackArchive
	for _, c := range p.Copies {
		f, sum, err := v.copy(ctx, p, c)
		if err != nil {
			return nil, nil, err
		}
		if found = append(found, f...); len(f) > 0 || v.away[c.Archive] {
			continue
		}
		fresh := c.CRC32C == 0
		if c.CRC32C = sum; fresh {
			learned = append(learned, c)
		}
		sound = append(sound, c)
	}
	return found, sound, v.record(ctx, learned)
}

func (v *Verifier) record(ctx context.Context, copies []index.PackArchive) error {
	if v.o.Proposer == nil || len(copies) == 0 {
		return nil
	}
	return v.o.Proposer.Propose(ctx, index.Batch{Archived: copies})
}

func (v *Verifier) tell(f Finding) {
	v.done.Findings++
	if f.Repaired {
		v.done.Repaired++
	}
	if v.o.Finding != nil {
		v.o.Finding(f)
	}
}

// repair brings back the copies of a pack of which one is sound. When the
// pack was removed meanwhile, what was brought back is removed as well.
func (v *Verifier) repair(ctx context.Context, p index.Pack, sound index.PackArchive, found []Finding) error {
	done, failure := v.o.Repair.Repair(ctx, sound.Key, set.Want{Size: sound.Size, CRC32C: sound.CRC32C})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	removed, err := removedMeanwhile(ctx, v.o.Index, p.PackID, sound.Key)
	if err != nil {
		return err
	}
	if removed {
		return v.o.Repair.Remove(ctx, sound.Key)
	}
	lies := map[string]bool{}
	for _, a := range done.Archives {
		lies[a] = true
	}
	for i := range found {
		f := &found[i]
		f.Repaired = lies[f.Archive] && (f.Fault == Lost || f.Fault == Damaged)
		if !f.Repaired && failure != nil && f.Fault != Unreachable {
			f.What += "; and it cannot be repaired: " + failure.Error()
		}
	}
	return v.record(ctx, v.brought(p, sound.Key, done))
}

// brought are the copies of a pack that the index does not know.
func (v *Verifier) brought(p index.Pack, key string, done set.Result) []index.PackArchive {
	known := map[string]bool{}
	for _, c := range p.Copies {
		known[c.Archive] = true
	}
	var fresh []index.PackArchive
	for _, c := range copiesOf(p.PackID, key, done, time.Now()) {
		if !known[c.Archive] {
			fresh = append(fresh, c)
		}
	}
	v.done.Brought += len(fresh)
	return fresh
}

// copy verifies one copy, and returns the CRC-32C of what it is when nothing
// is wrong with it. Of an archive that does not answer nothing is said twice.
func (v *Verifier) copy(ctx context.Context, p index.Pack, c index.PackArchive) ([]Finding, uint32, error) {
	var found []Finding
	say := func(fault Fault, format string, args ...any) {
		if n := len(found); n > 0 && found[n-1].Fault == fault { // one finding per copy and fault
			found[n-1].What += "; " + fmt.Sprintf(format, args...)
			found[n-1].What = found[n-1].What[:min(len(found[n-1].What), longestFinding)]
			return
		}
		found = append(found, Finding{Fault: fault, PackID: p.PackID, Key: c.Key, Archive: c.Archive, What: fmt.Sprintf(format, args...)})
	}
	at := v.named[c.Archive]
	if at == nil {
		say(Foreign, "this archive is not configured")
		return found, 0, nil
	}
	if v.away[c.Archive] {
		return nil, 0, nil
	}
	sum, err := v.read(ctx, at, p, c, say)
	if v.o.Copied != nil {
		v.o.Copied()
	}
	switch {
	case ctx.Err() != nil:
		return nil, 0, ctx.Err()
	case errors.Is(err, storage.ErrNotFound):
		say(Lost, "it is missing, with %s in it", english.Plural(p.Instances, "instance", ""))
	case errors.Is(err, storage.ErrCorrupt), errors.Is(err, storage.ErrInvalid):
		say(Damaged, "%v", err)
	case err != nil:
		v.away[c.Archive] = at.Check(ctx) != nil
		say(Unreachable, "%v", err)
	}
	return found, sum, nil
}

// read reads one copy to its end.
func (v *Verifier) read(ctx context.Context, at archive.Archive, p index.Pack, c index.PackArchive, say func(Fault, string, ...any)) (uint32, error) {
	v.done.Copies++
	st, err := at.Stat(ctx, c.Key)
	if err != nil {
		return 0, err
	}
	if st.Size != c.Size {
		return 0, fmt.Errorf("%w: it has %d bytes, not the %d that were written", storage.ErrCorrupt, st.Size, c.Size)
	}
	blob := &summedBlob{
		packBlob: packBlob{archive: at, key: c.Key, size: st.Size},
		sum:      crc32.New(crc32.MakeTable(crc32.Castagnoli)), read: v.count,
	}
	if err := v.instances(ctx, p, &blob.packBlob, say); err != nil {
		return 0, err
	}
	sound := true
	if err := pack.Verify(ctx, blob, func(what string) { sound = false; say(Damaged, "%s", what) }); err != nil {
		return 0, err
	}
	sum := blob.sum.Sum32()
	if sound && c.CRC32C == 0 { // entered by a rebuild, which does not read it all
		if err := holds(ctx, v.o.Index, p, &blob.packBlob); err != nil {
			return 0, err
		}
	}
	if sound && c.CRC32C != 0 && sum != c.CRC32C {
		say(Damaged, "it has the CRC-32C %08x, not the %08x that was written", sum, c.CRC32C)
	}
	return sum, nil
}

func (v *Verifier) count(n int) {
	v.done.Bytes += int64(n)
	if v.o.Read != nil {
		v.o.Read(n)
	}
}

// instances holds the directory of a copy against the index.
func (v *Verifier) instances(ctx context.Context, p index.Pack, blob *packBlob, say func(Fault, string, ...any)) error {
	if !v.o.Instances {
		return nil
	}
	d, err := pack.ReadDirectory(ctx, blob)
	if errors.Is(err, storage.ErrCorrupt) || errors.Is(err, storage.ErrUnsupported) {
		return nil // Verify says it
	}
	if err != nil {
		return err
	}
	if len(d.Entries) != p.Instances {
		say(Damaged, "it holds %s, not the %d of the index", english.Plural(len(d.Entries), "instance", ""), p.Instances)
	}
	v.done.Instances += len(d.Entries)
	for i := range d.Entries {
		in := d.Entries[i].Instance
		has, err := v.o.Index.Has(ctx, index.Instance{Instance: in})
		if err != nil {
			return err
		}
		if has != index.StandingDuplicate {
			say(Astray, "it holds instance %s, which the index does not have", in.Key.SOPInstanceUID)
		}
	}
	return nil
}

// summedBlob sums what is read when the whole is read, and tells of it.
type summedBlob struct {
	packBlob
	sum  hash.Hash32
	read func(int)
}

// Open implements pack.Blob.
func (b *summedBlob) Open(ctx context.Context, r storage.Range) (io.ReadCloser, error) {
	in, err := b.packBlob.Open(ctx, r)
	if err != nil || r.Offset != 0 || r.Length != b.size {
		return in, err
	}
	b.sum.Reset()
	return summedReader{in, b}, nil
}

type summedReader struct {
	io.ReadCloser
	blob *summedBlob
}

func (s summedReader) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	s.blob.sum.Write(p[:n])
	s.blob.read(n)
	return n, err
}
