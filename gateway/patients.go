package gateway

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/esante-alsace/cigogne/gateway/dmp/ins"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
)

// PatientsOptions are the parts that Patients works with.
type PatientsOptions struct {
	Index    *index.Index
	Indexer  *Indexer
	Proposer Proposer
	// Sites tell which names one issuer has; nil knows of none.
	Sites *Sites
	// Realm is whose national identities are dealt in.
	Realm ins.Realm
	// Changed, when set, is called after each change that was made.
	Changed func()
	Logger  *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Patients is the use case of identities: which local identifiers are one
// person's. A local identity is linked with a national one by a qualified
// assertion alone; what is in doubt waits for a person.
type Patients struct{ o PatientsOptions }

// NewPatients returns the use case.
func NewPatients(o PatientsOptions) *Patients {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Changed == nil {
		o.Changed = func() {}
	}
	return &Patients{o: o}
}

// Assertion says whose a local identity is.
type Assertion struct {
	Local index.PatientKey
	// Matricule and OID are the national number.
	Matricule, OID string
	Status         ins.Status
	Traits         ins.Traits
	// By names who asserts it: a person or a system.
	By string
}

// maxTries bounds how often a decision is made again because another came
// between.
const maxTries = 8

// Assert enters an assertion and returns what became of it: a change that is
// index.IdentityLinked, or index.IdentityQueued with the reason in Why. It is
// linked only when its status is ins.Qualified and nothing speaks against it:
// not another link of the local identity, nor other traits of the same number,
// nor what the local identity's studies say of their patient. A number that is
// no longer qualified ends the link that there is. The same assertion again
// changes nothing. What is malformed, of the other realm, of a local identity
// whose issuer nobody stated, or named by a name of its issuer that no study has
// is storage.ErrInvalid. The change is durable when Assert returns.
func (p *Patients) Assert(ctx context.Context, a Assertion) (index.IdentityChange, error) {
	number, err := p.check(&a)
	if err != nil {
		return index.IdentityChange{}, err
	}
	if err := p.o.Indexer.surely(ctx); err != nil {
		return index.IdentityChange{}, err
	}
	national := index.PatientKey{Issuer: number.OID, PatientID: number.Matricule}
	return p.decide(ctx, a.Local, national, func(s index.IdentityState) (decision, error) {
		return p.judge(ctx, a, number, s)
	})
}

// judge decides about an assertion.
func (p *Patients) judge(ctx context.Context, a Assertion, number ins.Number, s index.IdentityState) (decision, error) {
	made := p.change(a, number)
	linked := s.Link != nil && s.Link.National() == made.National()
	if linked && a.Status == ins.Qualified && s.Link.Traits == made.Traits {
		return decision{stands: s.Link}, nil
	}
	if err := p.recorded(ctx, a.Local); err != nil && s.Link == nil {
		return decision{}, err
	}
	why, err := p.against(ctx, a, s, linked)
	if err != nil {
		return decision{}, err
	}
	if len(why) == 0 {
		made.Kind = index.IdentityLinked
		return decision{made: &made}, nil
	}
	made.Kind, made.Why = index.IdentityQueued, clipped(strings.Join(why, "; "))
	made.Unlinks = linked && a.Status != ins.Qualified
	last, err := p.o.Index.LastIdentityChange(ctx, a.Local)
	if err != nil || last != nil && sameDoubt(*last, made) {
		return decision{stands: last}, err
	}
	return decision{made: &made}, nil
}

// sameDoubt tells whether the last that was said of a local identity is said
// again.
func sameDoubt(last, made index.IdentityChange) bool {
	return last.Kind == made.Kind && last.National() == made.National() && last.Status == made.Status &&
		last.Traits == made.Traits && last.Why == made.Why && !made.Unlinks
}

// decision is a change to be made, or else the one that stands.
type decision struct{ made, stands *index.IdentityChange }

func (p *Patients) check(a *Assertion) (ins.Number, error) {
	number, err := ins.Parse(a.Matricule, a.OID, p.o.Realm)
	if err != nil {
		return number, err
	}
	if !a.Status.Valid() {
		return number, fmt.Errorf("%w: the status is VALI, PROV, VIDE or %s", storage.ErrInvalid, ins.Doubtful)
	}
	if a.Status == ins.Qualified || a.Traits != (ins.Traits{}) {
		if err := a.Traits.Validate(); err != nil {
			return number, err
		}
	}
	return number, checkLocal(&a.Local, a.By)
}

// checkLocal wants a local identity whose issuer is known, and somebody who is
// answerable.
func checkLocal(local *index.PatientKey, by string) error {
	local.PatientID, local.Issuer = strings.TrimSpace(local.PatientID), strings.TrimSpace(local.Issuer)
	switch {
	case local.PatientID == "" || local.Issuer == "" || len(local.PatientID) > mostKey || len(local.Issuer) > mostKey:
		return fmt.Errorf("%w: a local identity has a PatientID and an issuer", storage.ErrInvalid)
	case strings.HasPrefix(local.Issuer, storage.AssumedIssuer):
		return fmt.Errorf("%w: nobody knows who the issuer %.64q is: name its site in the configuration", storage.ErrInvalid, local.Issuer)
	case len(ins.Known(local.Issuer)) > 0:
		return fmt.Errorf("%w: a national identity is no local one", storage.ErrInvalid)
	case by == "" || len(by) > mostKey:
		return fmt.Errorf("%w: who says so must be named", storage.ErrInvalid)
	}
	return nil
}

const mostKey = 512

func clipped(s string) string {
	const most = 900
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// change is the assertion as a change whose kind is still to be decided.
func (p *Patients) change(a Assertion, n ins.Number) index.IdentityChange {
	return index.IdentityChange{
		Name: rand.Text(), Local: a.Local, Authority: n.Issuer(), Number: n.Matricule,
		Status: string(a.Status), Traits: index.Traits(a.Traits), By: a.By, At: p.o.Now().UnixNano(),
	}
}

// against lists what speaks against the link, in words for an operator.
func (p *Patients) against(ctx context.Context, a Assertion, s index.IdentityState, linked bool) (why []string, err error) {
	if a.Status != ins.Qualified {
		why = append(why, "the identity is not qualified: "+string(a.Status))
	}
	if s.Link != nil && !linked {
		why = append(why, "the local identity is linked with another number")
	}
	if a.Traits == (ins.Traits{}) {
		return why, nil
	}
	others := s.Others
	if linked {
		others = append(others, *s.Link)
	}
	for _, o := range others {
		if differ := a.Traits.Differ(ins.Traits(o.Traits)); len(differ) > 0 {
			why = append(why, fmt.Sprintf("other traits than those of %s of %s: %s", o.Local.PatientID, o.Local.Issuer, strings.Join(differ, ", ")))
			break
		}
	}
	differ, err := p.shown(ctx, a)
	if len(differ) > 0 {
		why = append(why, "the studies of the local identity say another "+strings.Join(differ, ", "))
	}
	return why, err
}

// shownStudies bounds the studies that are held against an assertion.
const shownStudies = 256

// shown lists the traits with which the local identity's studies cannot be.
func (p *Patients) shown(ctx context.Context, a Assertion) ([]string, error) {
	q := index.Query{Level: index.Study, Patients: []index.PatientKey{a.Local}, Limit: shownStudies}
	for ds, err := range p.o.Index.Search(ctx, q) {
		if err != nil {
			return nil, err
		}
		says := ins.Shown{PatientName: ds.String(tagPatientName), BirthDate: ds.String(tagPatientBirthDate), Sex: ds.String(tagPatientSex)}
		if differ := a.Traits.Against(says); len(differ) > 0 {
			return differ, nil
		}
	}
	return nil, nil
}

const (
	tagPatientName      dicom.Tag = 0x00100010
	tagPatientBirthDate dicom.Tag = 0x00100030
	tagPatientSex       dicom.Tag = 0x00100040
)

// decide makes a decision with what is known of the identities, and again
// when another came between.
func (p *Patients) decide(ctx context.Context, local, national index.PatientKey, by func(index.IdentityState) (decision, error)) (index.IdentityChange, error) {
	for range maxTries {
		state, err := p.o.Index.IdentityState(ctx, local, national)
		if err != nil {
			return index.IdentityChange{}, err
		}
		d, err := by(state)
		switch {
		case err != nil:
			return index.IdentityChange{}, err
		case d.made == nil:
			return *d.stands, nil
		}
		d.made.Before = state.Before
		made, err := p.propose(ctx, *d.made)
		if err != nil {
			return index.IdentityChange{}, err
		}
		if made != nil {
			return *made, nil
		}
	}
	return index.IdentityChange{}, fmt.Errorf("%w: others decide about this identity at the same time", storage.ErrUnavailable)
}

// propose brings a change into the index; it is nil when another came between.
func (p *Patients) propose(ctx context.Context, change index.IdentityChange) (*index.IdentityChange, error) {
	err := p.o.Proposer.Propose(ctx, index.Batch{Identities: &index.Identities{Changes: []index.IdentityChange{change}}})
	if err != nil {
		return nil, err
	}
	made, err := p.o.Index.IdentityChange(ctx, change.Name)
	if err != nil || made == nil {
		return nil, err
	}
	if err := p.o.Index.Sync(ctx); err != nil {
		return nil, err
	}
	p.o.Changed()
	p.o.Logger.LogAttrs(ctx, slog.LevelInfo, "identity "+made.Kind.String(), slog.String("change", made.Name), slog.String("by", made.By))
	return made, nil
}

// Doubt puts a local identity that is linked before a person: an entry in the
// queue that offers the link again. The link stands meanwhile. The same doubt
// again, and one about an identity that is not linked, changes nothing.
func (p *Patients) Doubt(ctx context.Context, local index.PatientKey, by, why string) error {
	number, err := p.o.Index.NumberOf(ctx, local)
	if err != nil {
		return err
	}
	_, err = p.decide(ctx, local, number, func(s index.IdentityState) (decision, error) {
		if s.Link == nil {
			return decision{stands: &index.IdentityChange{}}, nil
		}
		made := index.IdentityChange{
			Name: rand.Text(), Kind: index.IdentityQueued, Local: local, Authority: s.Link.Authority, Number: s.Link.Number,
			Status: s.Link.Status, Traits: s.Link.Traits, By: by, At: p.o.Now().UnixNano(), Why: clipped(why),
		}
		last, err := p.o.Index.LastIdentityChange(ctx, local)
		if err != nil || last != nil && sameDoubt(*last, made) {
			return decision{stands: last}, err
		}
		return decision{made: &made}, nil
	})
	return err
}

// Undo ends the link of a local identity; without one it is
// storage.ErrNotFound.
func (p *Patients) Undo(ctx context.Context, local index.PatientKey, by, why string) (index.IdentityChange, error) {
	if err := errors.Join(checkLocal(&local, by), p.o.Indexer.surely(ctx)); err != nil {
		return index.IdentityChange{}, err
	}
	number, err := p.o.Index.NumberOf(ctx, local)
	if err != nil {
		return index.IdentityChange{}, err
	}
	return p.decide(ctx, local, number, func(s index.IdentityState) (decision, error) {
		if s.Link == nil {
			return decision{}, fmt.Errorf("%w: the identity is not linked", storage.ErrNotFound)
		}
		return decision{made: &index.IdentityChange{
			Name: rand.Text(), Kind: index.IdentityUndone, Local: local, Authority: s.Link.Authority, Number: s.Link.Number,
			By: by, At: p.o.Now().UnixNano(), Why: clipped(why),
		}}, nil
	})
}

// Settle decides about a change that was queued: to link, in place of what the
// local identity was linked with, or not. Only what was asserted as qualified
// can be linked. One that does not wait is storage.ErrNotFound.
func (p *Patients) Settle(ctx context.Context, name string, link bool, by, why string) (index.IdentityChange, error) {
	if err := p.o.Indexer.surely(ctx); err != nil {
		return index.IdentityChange{}, err
	}
	queued, err := p.o.Index.IdentityChange(ctx, name)
	if err != nil {
		return index.IdentityChange{}, err
	}
	if queued == nil {
		return index.IdentityChange{}, fmt.Errorf("%w: no such change", storage.ErrNotFound)
	}
	if err := checkLocal(&queued.Local, by); err != nil {
		return index.IdentityChange{}, err
	}
	if link && ins.Status(queued.Status) != ins.Qualified {
		return index.IdentityChange{}, fmt.Errorf("%w: the identity is not qualified: %s", storage.ErrInvalid, queued.Status)
	}
	return p.decide(ctx, queued.Local, queued.National(), func(index.IdentityState) (decision, error) {
		if open, err := p.o.Index.IdentityWaits(ctx, name); err != nil || !open {
			return decision{}, orNotFound(err, "the change does not wait")
		}
		made := *queued
		made.Name, made.Settles, made.By, made.Why, made.At = rand.Text(), name, by, clipped(why), p.o.Now().UnixNano()
		if made.Kind = index.IdentityDismissed; link {
			made.Kind = index.IdentityLinked
		}
		made.Unlinks = false
		return decision{made: &made}, nil
	})
}

func orNotFound(err error, what string) error {
	if err != nil {
		return err
	}
	return fmt.Errorf("%w: %s", storage.ErrNotFound, what)
}
