package custody

import (
	"math"
	"strings"
	"time"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage/index"
)

// Act is who did something, when and why.
type Act struct {
	At  time.Time `json:"at"`
	By  string    `json:"by,omitempty"`
	Why string    `json:"why,omitempty"`
}

// Deletion is a deletion and what it waits for.
type Deletion struct {
	ID                string `json:"id"`
	Revision          int64  `json:"revision"` // what to ask for changes after
	StudyInstanceUID  string `json:"studyInstanceUID"`
	SeriesInstanceUID string `json:"seriesInstanceUID,omitempty"`
	// State is marked, removing, removed or undone.
	State     string     `json:"state"`
	Series    int64      `json:"series"`
	Instances int64      `json:"instances"`
	Packs     int        `json:"packs"`
	Marked    Act        `json:"marked"`
	UndoUntil time.Time  `json:"undoUntil"`
	Undone    *Act       `json:"undone,omitempty"`
	Decided   *time.Time `json:"decided,omitempty"`
	Removed   *time.Time `json:"removed,omitempty"`
	// KeptBy is what keeps it from being removed when it is due.
	KeptBy *Kept `json:"keptBy,omitempty"`
	// Left are the packs that are not removed yet, and Shared those of them
	// that stay, because an instance that is kept aside lies in them.
	Left    int      `json:"left,omitempty"`
	Shared  int      `json:"shared,omitempty"`
	Trouble *Trouble `json:"trouble,omitempty"`
}

// Trouble is why a deletion does not come to its end.
type Trouble struct {
	Since time.Time `json:"since"`
	Why   string    `json:"why"`
}

// Holds are those of a study.
type Holds struct {
	StudyInstanceUID string `json:"studyInstanceUID"`
	Holds            []Hold `json:"holds"`
}

// Hold is a reason to keep a study.
type Hold struct {
	Name string `json:"name"`
	Act
}

// Kept is what keeps a study.
type Kept struct {
	StudyInstanceUID string     `json:"studyInstanceUID"`
	Holds            []Hold     `json:"holds"`
	Retention        *Retention `json:"retention,omitempty"`
}

// Retention is until when a study is kept for its age.
type Retention struct {
	Years int    `json:"years"`
	Own   bool   `json:"own"`            // set for this study
	From  string `json:"from,omitempty"` // YYYYMMDD
	// Until is missing for one that is kept for ever.
	Until *time.Time `json:"until,omitempty"`
}

func viewAct(a index.Act) Act { return Act{time.Unix(0, a.At).UTC(), a.By, a.Why} }

func viewOf(s *gateway.DeletionStatus) Deletion {
	d := Deletion{
		ID: s.ID, Revision: s.Revision, StudyInstanceUID: s.StudyInstanceUID, SeriesInstanceUID: s.SeriesInstanceUID,
		State: s.State.String(), Series: s.Series, Instances: s.Instances, Packs: len(s.Packs), Marked: viewAct(s.Marked),
		UndoUntil: time.Unix(0, s.Due).UTC(), Decided: moment(s.Decided), Removed: moment(s.Removed), Left: s.Left, Shared: s.Shared,
	}
	if s.State == index.DeletionUndone {
		undone := viewAct(s.Undone)
		d.Undone = &undone
	}
	if s.Kept != nil {
		kept := viewKept(s.Kept)
		d.KeptBy = &kept
	}
	if s.Trouble != nil {
		d.Trouble = &Trouble{s.Trouble.Since.UTC(), s.Trouble.Err.Error()}
	}
	return d
}

func moment(at int64) *time.Time {
	if at == 0 {
		return nil
	}
	t := time.Unix(0, at).UTC()
	return &t
}

func viewHolds(holds []index.Hold) []Hold {
	views := make([]Hold, len(holds))
	for i, h := range holds {
		views[i] = Hold{h.Name, viewAct(h.Act)}
	}
	return views
}

func viewKept(k *index.Kept) Kept {
	v := Kept{StudyInstanceUID: k.StudyInstanceUID, Holds: viewHolds(k.Holds)}
	if k.Until != 0 {
		v.Retention = &Retention{Years: k.Years, Own: k.Own, From: k.From}
		if k.Until < math.MaxInt64 {
			v.Retention.Until = moment(k.Until)
		}
	}
	return v
}

// holdPath tells the path of a hold: /studies/{study}/holds/{name}.
func holdPath(path string) bool {
	parts := strings.Split(path, "/")
	return len(parts) == 5 && parts[1] == "studies" && parts[3] == "holds"
}
