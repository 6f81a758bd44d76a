package gateway

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/pack"
)

// Notes are small JSON objects by which an archive tells what of it is deleted
// and what must not be: deleted/<study>/<deletion>.<revision>-<sum>.json and
// protected/<study>/<revision>-<sum>.json, with "all" for the rule for every
// study. Of several revisions the highest counts.
const (
	deletedPrefix   = "deleted/"
	protectedPrefix = "protected/"
	everyStudy      = "all"
	noteSuffix      = ".json"
	noteBytes       = 32 << 20

	deletionFormat   = "cigogne-deletion"
	protectionFormat = "cigogne-protection"
	// Where a deletion is noted, digests are: in version 1 they were SHA-256.
	deletionVersion   = 2
	protectionVersion = 1
)

// note is one of them.
type note struct {
	name     string // the key up to the revision
	revision int64
	body     []byte
}

func (n *note) key() string {
	sum := sha256.Sum256(n.body)
	return n.name + strconv.FormatInt(n.revision, 10) + "-" + hex.EncodeToString(sum[:4]) + noteSuffix
}

// parseNoteKey tells of which note a key is a revision.
func parseNoteKey(key string) (name string, revision int64, ok bool) {
	at := strings.LastIndexAny(key, "/.")
	stem, isNote := strings.CutSuffix(key, noteSuffix)
	if isNote {
		at = strings.LastIndexAny(stem, "/.")
	}
	if !isNote || at < 0 {
		return "", 0, false
	}
	number, _, dashed := strings.Cut(stem[at+1:], "-")
	revision, err := strconv.ParseInt(number, 10, 64)
	return stem[:at+1], revision, dashed && err == nil && revision >= 0
}

// noteAct is an index.Act for people.
type noteAct struct {
	At  time.Time `json:"at"`
	By  string    `json:"by,omitempty"`
	Why string    `json:"why,omitempty"`
}

func toNoteAct(a index.Act) noteAct { return noteAct{time.Unix(0, a.At).UTC(), a.By, a.Why} }

func (a noteAct) act() index.Act { return index.Act{At: a.At.UnixNano(), By: a.By, Why: a.Why} }

type noteJournal struct {
	Journal string `json:"journal"`
	Segment uint64 `json:"segment"`
	Offset  int64  `json:"offset"`
}

type notePack struct {
	SeriesInstanceUID string `json:"seriesInstanceUID"`
	Key               string `json:"key"`
}

// deletionNote is what an archive keeps of a deletion.
type deletionNote struct {
	Format            string           `json:"format"`
	Version           int              `json:"version"`
	About             string           `json:"about"`
	ID                string           `json:"id"`
	StudyInstanceUID  string           `json:"studyInstanceUID"`
	SeriesInstanceUID string           `json:"seriesInstanceUID,omitempty"`
	Revision          int64            `json:"revision"`
	State             string           `json:"state"`
	Marked            noteAct          `json:"marked"`
	UndoUntil         time.Time        `json:"undoUntil"`
	Undone            *noteAct         `json:"undone,omitempty"`
	Decided           *time.Time       `json:"decided,omitempty"`
	Removed           *time.Time       `json:"removed,omitempty"`
	Series            int64            `json:"series"`
	Instances         int64            `json:"instances"`
	Packs             []notePack       `json:"packs"`
	Journals          []noteJournal    `json:"journalsUpTo"`
	KeptAside         []storage.Digest `json:"keptAside,omitempty"`
}

// aboutDeletion says what a state means to who finds the note.
func aboutDeletion(s index.DeletionState) string {
	switch s {
	case index.DeletionMarked:
		return "What is listed here was deleted and must not be shown. It is kept until the end of the time in which that can be undone, and longer under a hold."
	case index.DeletionDecided:
		return "What is listed here was deleted, must not be shown, and is being removed from every archive."
	case index.DeletionRemoved:
		return "What is listed here was deleted and removed from the archives. If some of it is found again, it must not be shown."
	default:
		return "What is listed here was deleted and put back: it is as valid as if that had not been."
	}
}

// packKey is where a pack that is being deleted lies, or would.
func packKey(study string, p index.DeletedPack) string {
	if p.Key != "" {
		return p.Key
	}
	return pack.Key(study, p.SeriesInstanceUID, p.PackID, false)
}

func noteOfDeletion(r *index.DeletionRecord) (*note, error) {
	n := deletionNote{
		Format: deletionFormat, Version: deletionVersion, About: aboutDeletion(r.State),
		ID: r.ID, StudyInstanceUID: r.StudyInstanceUID, SeriesInstanceUID: r.SeriesInstanceUID,
		Revision: r.Revision, State: r.State.String(), Marked: toNoteAct(r.Marked), UndoUntil: time.Unix(0, r.Due).UTC(),
		Series: r.Series, Instances: r.Instances, Packs: []notePack{}, Journals: []noteJournal{}, KeptAside: r.Aside,
	}
	if r.Undone != (index.Act{}) {
		undone := toNoteAct(r.Undone)
		n.Undone = &undone
	}
	n.Decided, n.Removed = moment(r.Decided), moment(r.Removed)
	for _, p := range r.Packs {
		n.Packs = append(n.Packs, notePack{p.SeriesInstanceUID, packKey(r.StudyInstanceUID, p)})
	}
	for _, p := range r.Through {
		n.Journals = append(n.Journals, noteJournal{string(p.Journal), p.Segment, p.Offset})
	}
	body, err := json.MarshalIndent(n, "", "  ")
	return &note{deletedPrefix + r.StudyInstanceUID + "/" + r.ID + ".", r.Revision, append(body, '\n')}, err
}

// moment is a time for people; 0 is none.
func moment(at int64) *time.Time {
	if at == 0 {
		return nil
	}
	t := time.Unix(0, at).UTC()
	return &t
}

func nanosecondsOf(t *time.Time) int64 {
	if t == nil {
		return 0
	}
	return t.UnixNano()
}

// decodeDeletion is the inverse of noteOfDeletion; anything else is
// storage.ErrCorrupt, and what a newer version wrote storage.ErrUnsupported.
func decodeDeletion(body []byte) (*index.DeletionRecord, error) {
	var n deletionNote
	if err := decodeNote(body, deletionFormat, deletionVersion, &n); err != nil {
		return nil, err
	}
	r := &index.DeletionRecord{
		ID: n.ID, StudyInstanceUID: n.StudyInstanceUID, SeriesInstanceUID: n.SeriesInstanceUID, Revision: n.Revision,
		Marked: n.Marked.act(), Due: n.UndoUntil.UnixNano(), Decided: nanosecondsOf(n.Decided), Removed: nanosecondsOf(n.Removed),
		Series: n.Series, Instances: n.Instances, Aside: n.KeptAside,
	}
	if n.Undone != nil {
		r.Undone = n.Undone.act()
	}
	for s := index.DeletionMarked; s <= index.DeletionUndone; s++ {
		if s.String() == n.State {
			r.State = s
		}
	}
	for _, p := range n.Packs {
		stem := strings.TrimSuffix(p.Key, pack.Suffix)
		r.Packs = append(r.Packs, index.DeletedPack{
			SeriesInstanceUID: p.SeriesInstanceUID, PackID: stem[strings.LastIndexByte(stem, '/')+1:], Key: p.Key,
		})
	}
	for _, j := range n.Journals {
		r.Through = append(r.Through, index.Position{Journal: index.JournalID(j.Journal), Segment: j.Segment, Offset: j.Offset})
	}
	step := index.Deletion{ID: r.ID, Step: index.RestoreDeletion, Record: r}
	if err := (index.Batch{Deletions: []index.Deletion{step}}).Validate(); err != nil {
		return nil, fmt.Errorf("%w: the note of a deletion: %w", storage.ErrCorrupt, err)
	}
	return r, nil
}

// protectionNote is what an archive keeps of what is set for a study.
type protectionNote struct {
	Format           string         `json:"format"`
	Version          int            `json:"version"`
	About            string         `json:"about"`
	StudyInstanceUID string         `json:"studyInstanceUID,omitempty"`
	Revision         int64          `json:"revision"`
	Holds            []noteHold     `json:"holds"`
	Retention        *noteRetention `json:"retention,omitempty"`
}

type noteHold struct {
	Name string `json:"name"`
	noteAct
}

type noteRetention struct {
	Years int `json:"years"`
	noteAct
}

func noteOfProtection(r *index.ProtectionRecord) (*note, error) {
	n := protectionNote{
		Format: protectionFormat, Version: protectionVersion, StudyInstanceUID: r.StudyInstanceUID, Revision: r.Revision, Holds: []noteHold{},
		About: "While holds are listed here the study must not be removed, nor before so many years after its date.",
	}
	name := r.StudyInstanceUID
	if name == "" {
		name = everyStudy
		n.About = "Studies for which nothing else is set must not be removed before so many years after their date."
	}
	for _, h := range r.Holds {
		n.Holds = append(n.Holds, noteHold{h.Name, toNoteAct(h.Act)})
	}
	if r.Retention != nil {
		n.Retention = &noteRetention{r.Retention.Years, toNoteAct(r.Retention.Act)}
	}
	body, err := json.MarshalIndent(n, "", "  ")
	return &note{protectedPrefix + name + "/", r.Revision, append(body, '\n')}, err
}

// decodeProtection is the inverse of noteOfProtection, with the errors of
// decodeDeletion.
func decodeProtection(body []byte) (*index.ProtectionRecord, error) {
	var n protectionNote
	if err := decodeNote(body, protectionFormat, protectionVersion, &n); err != nil {
		return nil, err
	}
	r := &index.ProtectionRecord{StudyInstanceUID: n.StudyInstanceUID, Revision: n.Revision}
	for _, h := range n.Holds {
		r.Holds = append(r.Holds, index.Hold{Name: h.Name, Act: h.act()})
	}
	if n.Retention != nil {
		r.Retention = &index.Retention{Years: n.Retention.Years, Act: n.Retention.act()}
	}
	step := index.Protection{Step: index.RestoreProtection, StudyInstanceUID: r.StudyInstanceUID, Record: r}
	if err := (index.Batch{Protections: []index.Protection{step}}).Validate(); err != nil {
		return nil, fmt.Errorf("%w: the note of a protection: %w", storage.ErrCorrupt, err)
	}
	return r, nil
}

func decodeNote(body []byte, format string, version int, into any) error {
	var head struct {
		Format  string `json:"format"`
		Version int    `json:"version"`
	}
	if err := json.Unmarshal(body, &head); err != nil {
		return fmt.Errorf("%w: note: %w", storage.ErrCorrupt, err)
	}
	if head.Format != format {
		return fmt.Errorf("%w: a note of the format %.40q", storage.ErrCorrupt, head.Format)
	}
	if head.Version > 0 && head.Version < version {
		return fmt.Errorf("%w: a note of version %d", storage.ErrEarlierDigest, head.Version)
	}
	if head.Version != version {
		return fmt.Errorf("%w: a note of version %d", storage.ErrUnsupported, head.Version)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("%w: note: %w", storage.ErrCorrupt, err)
	}
	return nil
}

// noteSource is a note to be put.
type noteSource []byte

// Size implements archive.Source.
func (s noteSource) Size() int64 { return int64(len(s)) }

// Open implements archive.Source.
func (s noteSource) Open(_ context.Context, r storage.Range) (io.ReadCloser, error) {
	if !r.Within(s.Size()) {
		return nil, fmt.Errorf("%w: bytes %d-%d of a note", storage.ErrInvalid, r.Offset, r.End())
	}
	return io.NopCloser(bytes.NewReader(s[r.Offset:r.End()])), nil
}

// readNote reads one whole. Bytes that are not those of which its key has the
// sum are storage.ErrCorrupt: one bit may make it the note of another study.
func readNote(ctx context.Context, a archive.Archive, st archive.Stat) ([]byte, error) {
	if st.Size > noteBytes {
		return nil, fmt.Errorf("%w: a note of %d bytes", storage.ErrCorrupt, st.Size)
	}
	body, err := a.Get(ctx, st.Key, storage.Range{Length: st.Size})
	if err != nil {
		return nil, err
	}
	defer body.Close()
	b, err := io.ReadAll(body)
	if err := errors.Join(err, ctx.Err()); err != nil {
		return nil, err
	}
	if name, revision, ok := parseNoteKey(st.Key); ok && (&note{name, revision, b}).key() != st.Key {
		return nil, fmt.Errorf("%w: its bytes are not those that were put", storage.ErrCorrupt)
	}
	return b, nil
}
