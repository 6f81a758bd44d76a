package index

import (
	"fmt"
	"math"
	"time"

	"github.com/esante-alsace/cigogne/storage"
)

// ProtectionStep is what a Protection does.
type ProtectionStep int

const (
	// SetHold keeps a study for as long as the hold stands. One of its name
	// that stands already is left as it is, and one beyond HoldsMost is not set.
	SetHold ProtectionStep = iota + 1
	// ClearHold ends a hold.
	ClearHold
	// SetRetention says for how many years a study is kept; without a study,
	// all that have no years of their own.
	SetRetention
	// ClearRetention leaves it to the years of all, and those to
	// DefaultRetention.
	ClearRetention
	// RestoreProtection enters what an archive has (rebuild), unless it is
	// older than what is known.
	RestoreProtection
)

// Protection changes what keeps a study, or all of them, from being deleted.
type Protection struct {
	Step             ProtectionStep    `cbor:"1,keyasint"`
	StudyInstanceUID string            `cbor:"2,keyasint,omitempty"`
	Act              Act               `cbor:"3,keyasint"`
	Hold             string            `cbor:"4,keyasint,omitempty"` // the hold's name
	Years            int               `cbor:"5,keyasint,omitempty"`
	Record           *ProtectionRecord `cbor:"6,keyasint,omitempty"` // of RestoreProtection
}

// ProtectionRecord is all that is set for a study; without one, for all.
type ProtectionRecord struct {
	StudyInstanceUID string `cbor:"1,keyasint,omitempty"`
	// Revision grows with each change of any deletion or protection.
	Revision  int64      `cbor:"2,keyasint"`
	Holds     []Hold     `cbor:"3,keyasint,omitempty"` // by name
	Retention *Retention `cbor:"4,keyasint,omitempty"`
}

// Hold is a reason to keep a study, whatever its age.
type Hold struct {
	Name string `cbor:"1,keyasint"`
	Act  Act    `cbor:"2,keyasint"`
}

// Retention is for how many years a study is kept; 0 is not at all.
type Retention struct {
	Years int `cbor:"1,keyasint"`
	Act   Act `cbor:"2,keyasint"`
}

const (
	// DefaultRetention is for how many years studies are kept when nothing
	// else is set.
	DefaultRetention = 20
	// MaxRetention bounds the years.
	MaxRetention = 1000
	// HoldsMost is how many holds may stand on a study: its note in the archives
	// has all of them, and one that is too long would end a rebuild. holdsMost is
	// with how many one is restored.
	HoldsMost = 1000
	holdsMost = 10_000
	holdBytes = 128
)

// Kept is what keeps a study.
type Kept struct {
	StudyInstanceUID string
	Holds            []Hold
	// Years is how long it is kept from From, the date of the study or, when
	// it has none, of its first receipt; Own when that was set for this study.
	Years int
	Own   bool
	From  string // YYYYMMDD
	// Until is the end of retention in nanoseconds of Unix time; 0 when there
	// is none.
	Until int64
}

// At tells whether the study is kept at that time.
func (k *Kept) At(at int64) bool { return len(k.Holds) > 0 || at < k.Until }

// earliest is the day on which the first X-rays were seen: a StudyDate before
// it is none.
const earliest = "18951108"

// retain fills in From and Until. The day of the anniversary is kept whole,
// and where a year has no 29 February the 1 March; days are those of UTC. A
// study of which no date is known is kept for ever.
func (k *Kept) retain(date string, received int64) {
	from, err := time.Parse("20060102", date)
	if err != nil || date < earliest {
		from = time.Unix(0, received).UTC().Truncate(24 * time.Hour)
	}
	switch {
	case (err != nil || date < earliest) && received <= 0:
		if k.Years > 0 {
			k.Until = math.MaxInt64
		}
		return
	case k.Years > 0:
		k.Until = nanoseconds(from.AddDate(k.Years, 0, 1))
	}
	k.From = from.Format("20060102")
}

// nanoseconds are those of Unix time, or as many as there can be.
func nanoseconds(t time.Time) int64 {
	const most = math.MaxInt64 / int64(time.Second)
	if t.Unix() >= most {
		return math.MaxInt64
	}
	return t.Unix() * int64(time.Second)
}

func (p Protection) validate() error {
	if p.StudyInstanceUID != "" && !storage.ValidUID(p.StudyInstanceUID) {
		return fmt.Errorf("%w: StudyInstanceUID %q is not a UID", storage.ErrInvalid, clip(p.StudyInstanceUID))
	}
	if err := p.Act.validate(); err != nil {
		return err
	}
	switch p.Step {
	case SetHold, ClearHold:
		if p.StudyInstanceUID == "" || !validHold(p.Hold) {
			return fmt.Errorf("%w: a hold has a study and a name of at most %d bytes", storage.ErrInvalid, holdBytes)
		}
	case SetRetention:
		return validYears(p.Years)
	case ClearRetention:
	case RestoreProtection:
		if p.Record == nil || p.Record.StudyInstanceUID != p.StudyInstanceUID {
			return fmt.Errorf("%w: a protection without a record", storage.ErrInvalid)
		}
		return p.Record.validate()
	default:
		return fmt.Errorf("%w: a protection without a step", storage.ErrInvalid)
	}
	return nil
}

func validHold(name string) bool { return name != "" && len(name) <= holdBytes }

func validYears(years int) error {
	if years < 0 || years > MaxRetention {
		return fmt.Errorf("%w: retention of %d years: 0 to %d", storage.ErrInvalid, years, MaxRetention)
	}
	return nil
}

func (r *ProtectionRecord) validate() error {
	if r.Revision < 0 || len(r.Holds) > holdsMost {
		return fmt.Errorf("%w: the protection of %s", storage.ErrInvalid, r.StudyInstanceUID)
	}
	for _, h := range r.Holds {
		if !validHold(h.Name) {
			return fmt.Errorf("%w: the name of a hold", storage.ErrInvalid)
		}
		if err := h.Act.validate(); err != nil {
			return err
		}
	}
	if r.Retention == nil {
		return nil
	}
	if err := r.Retention.Act.validate(); err != nil {
		return err
	}
	return validYears(r.Retention.Years)
}
