package journal

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/esante-alsace/cigogne/storage"
)

// ID is a journal's random name.
type ID [16]byte

// String is the id in lower-case hexadecimal.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// parse is the inverse of String.
func (id *ID) parse(s string) error {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(id) || hex.EncodeToString(b) != s {
		return fmt.Errorf("%w: %q is no journal's id", storage.ErrInvalid, s)
	}
	copy(id[:], b)
	return nil
}

// idFile holds magic, id and their checksum.
const (
	idFile     = "id"
	idMagic    = "CIGJRNID"
	idFileSize = len(idMagic) + len(ID{}) + 4
)

// loadID reads the journal's id, or makes one for a journal that is new.
func (j *Journal) loadID() error {
	name := filepath.Join(j.o.Dir, idFile)
	b, err := readID(j.fs, name)
	switch {
	case err == nil:
		j.id = ID(b[len(idMagic):])
		return nil
	case errors.Is(err, fs.ErrNotExist) && !j.o.ReadOnly:
	case errors.Is(err, storage.ErrCorrupt) && !j.o.ReadOnly:
		// A crash while it was made; then there is no segment yet.
		files, lerr := j.fs.ReadDir(j.o.Dir)
		if lerr != nil || len(segmentNumbers(files)) > 0 {
			return errors.Join(err, lerr)
		}
		if err := j.fs.Remove(name); err != nil {
			return err
		}
	default:
		return err
	}
	_, _ = rand.Read(j.id[:]) // never fails
	return diskError("making the journal's id", j.writeID(name))
}

// claimID gives a copy's folder the id of the original, or sees that it has it.
func (j *Journal) claimID() error {
	name := filepath.Join(j.o.Dir, idFile)
	b, err := readID(j.fs, name)
	switch {
	case err == nil && ID(b[len(idMagic):]) != j.id:
		return fmt.Errorf("%w: %s is of journal %s", storage.ErrConflict, j.o.Dir, ID(b[len(idMagic):]))
	case errors.Is(err, storage.ErrCorrupt): // a crash while it was made; segments name their journal, too
		if err := j.fs.Remove(name); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return diskError("making the copy's id", j.writeID(name))
}

func readID(files FS, name string) ([]byte, error) {
	f, err := files.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, idFileSize)
	if err := readFull(f, b, 0); err != nil {
		return nil, err
	}
	body, sum := b[:idFileSize-4], binary.LittleEndian.Uint32(b[idFileSize-4:])
	if string(b[:len(idMagic)]) != idMagic || checksum(body) != sum {
		return nil, fmt.Errorf("%w: %s does not match its checksum", storage.ErrCorrupt, name)
	}
	return body, nil
}

func (j *Journal) writeID(name string) error {
	f, err := j.fs.Create(name)
	if err != nil {
		return err
	}
	b := append([]byte(idMagic), j.id[:]...)
	b = binary.LittleEndian.AppendUint32(b, checksum(b))
	err = f.WriteVAt([][]byte{b}, 0)
	if err == nil {
		err = f.Sync()
	}
	if err = closeAfter(f, err); err != nil {
		return errors.Join(err, j.fs.Remove(name))
	}
	return j.fs.SyncDir(j.o.Dir)
}

// random returns 64 random bits, never 0.
func random() uint64 {
	var b [8]byte
	for {
		_, _ = rand.Read(b[:]) // never fails
		if n := binary.LittleEndian.Uint64(b[:]); n != 0 {
			return n
		}
	}
}
