// Package pack writes and reads packs: ZIP64 files of one series' instances
// in Part 10 form, with what is known of them in two entries of JSON lines
// behind. See DESIGN.md for the format.
package pack

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
)

const (
	// Version is the version of the format. In versions 1 and 2 digests were
	// SHA-256.
	Version = 3
	// MaxInstances is the most instances that a pack may hold.
	MaxInstances = 1 << 20
	// MaxLayout is the most bytes that an instance's layout may take in its
	// stored form; some 3 million frames.
	MaxLayout = 16 << 20

	format      = "cigogne-pack"
	metadataTag = "metadata.ndjson"
	indexTag    = "index.ndjson"
	// maxLine bounds a line of the index.
	maxLine = 1 << 20
)

// Member is an instance that is to be packed.
type Member struct {
	storage.Instance
	// Open reads a range of the stored Part 10 form.
	Open func(ctx context.Context, r storage.Range) (io.ReadCloser, error)
	// WriteMetadata writes the instance's DICOM JSON object, of any length.
	// Newlines between its values, which NDJSON forbids, become spaces.
	WriteMetadata func(ctx context.Context, w io.Writer) error
	// Layout may be nil when it is not known.
	Layout *dicom.Layout
}

// Blob is a stored pack.
type Blob interface {
	// Size is the length of the pack in bytes.
	Size() int64
	// Open reads a range of it.
	Open(ctx context.Context, r storage.Range) (io.ReadCloser, error)
}

// SoundBlob is a Blob that compares.
type SoundBlob interface {
	Blob
	// OpenSound reads a range within whole, which has the CRC-32 (IEEE). What
	// does not match is storage.ErrCorrupt.
	OpenSound(ctx context.Context, r, whole storage.Range, crc32 uint32) (io.ReadCloser, error)
}

// Header says what a pack holds. It is the first line of its index.
type Header struct {
	Format            string `json:"format"` // "cigogne-pack"
	Version           int    `json:"version"`
	StudyInstanceUID  string `json:"studyInstanceUID"`
	SeriesInstanceUID string `json:"seriesInstanceUID"`
	// Conflict is true for a pack of instances that are kept aside.
	Conflict  bool `json:"conflict"`
	Instances int  `json:"instances"`
}

// ID names the pack of these instances of a series, each given by its
// SOPInstanceUID and Digest: 32 hexadecimal digits that depend on all
// arguments but not on the order of the members. Equal packs of different
// generations have different names.
func ID(study, series string, conflict bool, generation int64, members iter.Seq2[string, storage.Digest]) string {
	var names []string
	for sop, digest := range members {
		names = append(names, sop+" "+digest.String()+"\n")
	}
	slices.Sort(names)
	h := sha256.New()
	h.Write(fmt.Appendf(nil, "%s %d %s %s %t %d\n", format, 1, study, series, conflict, len(names)))
	for _, n := range names {
		h.Write([]byte(n))
	}
	if generation > 0 {
		h.Write(fmt.Appendf(nil, "generation %d\n", generation))
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// The parts of a Key that all packs share.
const (
	StudiesPrefix   = "studies/"
	ConflictsPrefix = "conflicts/"
	Suffix          = ".zip"
)

// Key is the archive key of a pack: studies/<study>/<series>/<id>.zip, or the
// same below conflicts/ for instances that are kept aside.
func Key(study, series, id string, conflict bool) string {
	prefix := StudiesPrefix
	if conflict {
		prefix = ConflictsPrefix
	}
	return prefix + study + "/" + series + "/" + id + Suffix
}

// Compare orders instances as they lie in a pack: by SOPInstanceUID, a shorter
// one first, so that the numbers that devices count up at its end come in
// their order; then by Digest.
func Compare(a, b storage.Instance) int {
	return cmp.Or(compareUID(a.Key.SOPInstanceUID, b.Key.SOPInstanceUID), slices.Compare(a.Digest[:], b.Digest[:]))
}

func compareUID(a, b string) int {
	return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
}

// entryName is the name of an instance's ZIP entry. Instances in conflict may
// share their SOPInstanceUID with the one before them; then the digest tells
// them apart.
func entryName(inst storage.Instance, before string) string {
	sop := inst.Key.SOPInstanceUID
	if sop == before {
		return sop + "-" + inst.Digest.String()[:16] + ".dcm"
	}
	return sop + ".dcm"
}
