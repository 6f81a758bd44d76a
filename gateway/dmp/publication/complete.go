package publication

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/esante-alsace/cigogne/gateway/dmp/manifest"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

// How it is known that a study is complete.
const (
	// Quiet: nothing of it came for some time.
	Quiet = "quiet"
	// Change: it was deleted or restored, or it is known to be somebody else's:
	// nothing is waited for after that.
	Change = "change"
	// Commitment: all that it consists of was committed to its sender.
	Commitment = "commitment"
	// Call: somebody said so.
	Call = "call"
)

const (
	quietList = 100 // studies that are taken up at once
	maxTries  = 8   // of a decision between which others come
)

// Life tells where a study is in its life; storage.ErrNotFound for one never
// heard of.
func (p *Publisher) Life(ctx context.Context, study string) (index.StudyLife, error) {
	life, err := p.o.Index.StudyLife(ctx, study)
	if err == nil && life == nil && p.seen(ctx, study) == nil { // it has just come
		life, err = p.o.Index.StudyLife(ctx, study)
	}
	if err != nil {
		return index.StudyLife{}, err
	}
	if life == nil {
		return index.StudyLife{}, fmt.Errorf("%w: study %s", storage.ErrNotFound, study)
	}
	return *life, nil
}

// Complete says that a study is complete as it stands, and returns what it is
// complete as. One that is so already stays as it is; one of which there is
// nothing is storage.ErrNotFound.
func (p *Publisher) Complete(ctx context.Context, study, by string) (index.StudyLife, error) {
	return p.CompleteBy(ctx, study, Call, by)
}

// CompleteBy is Complete for the cause that is named.
func (p *Publisher) CompleteBy(ctx context.Context, study, cause, by string) (index.StudyLife, error) {
	if err := p.seen(ctx, study); err != nil {
		return index.StudyLife{}, err
	}
	for range maxTries {
		life, err := p.Life(ctx, study)
		if err != nil || !life.Open {
			return life, err
		}
		switch err := p.complete(ctx, &life, cause, by); {
		case errors.Is(err, storage.ErrUnavailable) && ctx.Err() == nil:
			continue // it changed meanwhile
		case err != nil:
			return life, err
		}
	}
	return index.StudyLife{}, fmt.Errorf("%w: the study does not cease to change", storage.ErrUnavailable)
}

// seen waits until the index has what was acknowledged of a study.
func (p *Publisher) seen(ctx context.Context, study string) error {
	for _, err := range p.o.Search.Find(ctx, index.Query{Level: index.Study, StudyInstanceUID: study, Limit: 1}) {
		return err
	}
	return fmt.Errorf("%w: study %s", storage.ErrNotFound, study)
}

// completeQuiet decides about all studies that were quiet for long enough. It
// does what it can and returns what failed.
func (p *Publisher) completeQuiet(ctx context.Context) error {
	until := p.o.Now().Add(-p.o.After).UnixNano()
	var errs []error
	var after *index.StudyLife
	for ctx.Err() == nil {
		due, err := p.o.Index.QuietStudies(ctx, until, after, quietList)
		if err != nil || len(due) == 0 {
			return errors.Join(append(errs, err)...)
		}
		for i := range due {
			cause := Quiet
			if due[i].Since == 0 {
				cause = Change
			}
			if err := p.complete(ctx, &due[i], cause, ""); err != nil && len(errs) < quietList {
				errs = append(errs, fmt.Errorf("study %s: %w", due[i].StudyInstanceUID, err))
			}
		}
		after = &due[len(due)-1]
	}
	return ctx.Err()
}

// complete decides about one study as it stands. The index applies it only
// when nothing has changed since life was read.
func (p *Publisher) complete(ctx context.Context, life *index.StudyLife, cause, by string) error {
	c, err := p.content(ctx, life.StudyInstanceUID)
	if err != nil {
		return err
	}
	if len(c.differ) > 0 {
		why := "an instance that came after the link says another " + strings.Join(c.differ, ", ")
		if err := p.o.Patients.Doubt(ctx, c.local, "the gateway", why); err != nil {
			return err
		}
	}
	d := index.Completion{
		StudyInstanceUID: life.StudyInstanceUID, Revision: life.Revision, Version: life.Version,
		Content: c.digest, Instances: c.instances, Cause: cause, By: by,
	}
	if d.Manifest, err = p.next(ctx, life, c, &d); err != nil {
		return err
	}
	if d.Manifest == nil && d.Version > life.Version {
		d.Lack = string(c.lack())
		p.lacking(ctx, &d)
	}
	if c.latest > life.Version { // the index was made anew
		d.Found = &index.Manifest{SOPInstanceUID: manifestUID(d.StudyInstanceUID, c.latest), Version: c.latest}
		if m := d.Manifest; m != nil && m.SOPInstanceUID == d.Found.SOPInstanceUID {
			d.Found.Number = m.Number
		}
	}
	return p.o.Proposer.Propose(ctx, index.Batch{Life: &index.Life{Completions: []index.Completion{d}}})
}

// Lack is why a version of a study has no manifest.
type Lack string

// The reasons.
const (
	LackInstances Lack = "deleted"   // nothing is left of it
	LackIdentity  Lack = "identity"  // its patient has no qualified national identity
	LackAgreement Lack = "traits"    // it shows other traits than that identity's
	LackStructure Lack = "structure" // nobody who is known speaks for its site
	LackRoom      Lack = "too large" // it has more instances than a manifest may list
)

// lacking says that a version has no manifest. What waits for an identity is
// what is usual, and not logged.
func (p *Publisher) lacking(ctx context.Context, d *index.Completion) {
	if p.o.Lacking != nil {
		p.o.Lacking(Lack(d.Lack))
	}
	if l := Lack(d.Lack); l == LackStructure || l == LackRoom {
		p.o.Logger.LogAttrs(ctx, slog.LevelWarn, "a study is complete and gets no manifest",
			slog.String("study", d.StudyInstanceUID), slog.String("lacks", d.Lack), slog.Int64("instances", d.Instances))
	}
}

// next settles which version the completion is of, and returns the manifest
// that is wanted of it, if one is.
func (p *Publisher) next(ctx context.Context, life *index.StudyLife, c *content, d *index.Completion) (*index.Manifest, error) {
	if life.Content == c.digest && life.Version >= c.latest && stands(life, c) {
		return life.Manifest, nil // as it was
	}
	if c.instances == 0 && life.Version == 0 {
		return nil, nil //nolint:nilnil // there never was anything
	}
	if c.latest > life.Version && c.manifested() { // the index was made anew
		m, err := p.same(ctx, c)
		if err != nil || m != nil {
			d.Version = c.latest
			return m, err
		}
	}
	d.Version = max(life.Version, c.latest) + 1
	if !c.manifested() {
		return nil, nil //nolint:nilnil // a version without one
	}
	return &index.Manifest{SOPInstanceUID: manifestUID(d.StudyInstanceUID, d.Version), Version: d.Version, Number: c.number()}, nil
}

// stands tells whether the manifest of a version, or that it has none, does for
// the same content. One that was withdrawn does not, nor one that is gone.
func stands(life *index.StudyLife, c *content) bool {
	m := life.Manifest
	if m == nil {
		return !c.manifested()
	}
	return m.SOPInstanceUID != life.Publication.Withdrawn && (life.Owed || c.latest == life.Version)
}

// same is the latest manifest that is stored, when it says what the study
// consists of now; nil when it does not.
func (p *Publisher) same(ctx context.Context, c *content) (*index.Manifest, error) {
	study := c.study.StudyInstanceUID
	uid := manifestUID(study, c.latest)
	listed, err := p.read(ctx, study, uid)
	if errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrInvalid) {
		return nil, nil //nolint:nilnil // none is no failure
	}
	if err != nil || listed.Matricule != c.link.Number {
		return nil, err
	}
	left := make(map[string]bool)
	for i := range c.study.Series {
		for _, in := range c.study.Series[i].Instances {
			left[in.SOPInstanceUID] = true
		}
	}
	for _, s := range listed.Series {
		for _, sop := range s.SOPs {
			if !left[sop] {
				return nil, nil //nolint:nilnil // see above
			}
			delete(left, sop)
		}
	}
	if len(left) > 0 {
		return nil, nil //nolint:nilnil // see above
	}
	return &index.Manifest{SOPInstanceUID: uid, Version: c.latest, Number: c.number()}, nil
}

// read reads a manifest that is stored.
func (p *Publisher) read(ctx context.Context, study, uid string) (*manifest.Listing, error) {
	file, err := p.file(ctx, study, uid)
	if err != nil {
		return nil, err
	}
	return manifest.ReadKOS(file)
}

// file is a manifest as it is stored.
func (p *Publisher) file(ctx context.Context, study, uid string) ([]byte, error) {
	all, err := p.o.Retrieve.Instances(ctx, selectorOf(study, uid))
	if err != nil {
		return nil, err
	}
	about := all[0].About()
	if about.Size > manifest.ListingBytes {
		return nil, fmt.Errorf("%w: a manifest of %d bytes", storage.ErrTooLarge, about.Size)
	}
	body, err := all[0].Open(ctx, storage.Range{Length: about.Size})
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(io.LimitReader(body, about.Size))
}
