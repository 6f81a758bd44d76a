// Package archive is the contract of the places where packs come to rest: a
// flat space of keys and bytes in which nothing is ever overwritten. Its
// backends are in the folders below; all pass the one suite in archivetest.
package archive

import (
	"context"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"github.com/esante-alsace/cigogne/storage"
)

// Source is bytes to be put: of known size and readable again from any
// offset, so that a backend may retry a part, or send parts at the same time.
type Source interface {
	Size() int64
	// Open reads the range. Reads that fail because the source itself is
	// damaged return errors wrapping storage.ErrCorrupt.
	Open(ctx context.Context, r storage.Range) (io.ReadCloser, error)
}

// Stat describes one object.
type Stat struct {
	Key      string
	Size     int64
	Modified time.Time
}

// Archive keeps objects. Implementations are safe for use by many goroutines.
type Archive interface {
	// Put stores src under key, durably, and whole or not at all. It returns
	// the CRC-32C (Castagnoli) of what it stored. A key that is taken by the
	// same bytes is success; one that is taken by other bytes fails with
	// storage.ErrConflict and changes nothing. No space: storage.ErrFull. An
	// error of src is returned wrapped; a src that ends early is
	// storage.ErrCorrupt. A backend may refuse, with storage.ErrInvalid, a key
	// that lies below another object ("a/b" where "a" is one), or above.
	Put(ctx context.Context, key string, src Source) (crc32c uint32, err error)
	// Get reads a range of the object. A missing object is
	// storage.ErrNotFound; a range that reaches beyond the object is
	// storage.ErrInvalid. The reader may implement io.WriterTo to hand the
	// bytes of a file to the kernel; it must be closed.
	Get(ctx context.Context, key string, r storage.Range) (io.ReadCloser, error)
	// Stat describes an object, or fails with storage.ErrNotFound.
	Stat(ctx context.Context, key string) (Stat, error)
	// List yields the objects whose key begins with prefix, sorted by key; an
	// error is the last thing that it yields. Any prefix may be asked for,
	// one that no key has yields nothing.
	List(ctx context.Context, prefix string) iter.Seq2[Stat, error]
	// Remove removes an object; one that is missing is success.
	Remove(ctx context.Context, key string) error
	// Check tells whether the archive can be reached and written to now.
	Check(ctx context.Context) error
	// String is the archive's URL without secrets.
	String() string
}

// ValidKey returns nil when key can be stored by every backend: at most 512
// bytes of slash-separated components out of letters, digits, '.', '-' and
// '_', none empty, none beginning with a dot. The error wraps
// storage.ErrInvalid.
func ValidKey(key string) error {
	if key == "" || len(key) > 512 {
		return fmt.Errorf("%w: archive key of %d bytes", storage.ErrInvalid, len(key))
	}
	for part := range strings.SplitSeq(key, "/") {
		if part == "" || part[0] == '.' || strings.ContainsFunc(part, foreign) {
			return fmt.Errorf("%w: archive key %q", storage.ErrInvalid, key)
		}
	}
	return nil
}

// foreign tells whether a key may not have the character.
func foreign(c rune) bool {
	letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
	return !letter && (c < '0' || c > '9') && c != '.' && c != '-' && c != '_'
}
