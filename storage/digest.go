package storage

import (
	"encoding/hex"
	"fmt"

	"github.com/zeebo/blake3"
)

// Digest is the BLAKE3 hash, in its hash mode and of 256 bits, of a Data Set's
// bytes as received, without preamble and File Meta Information: the same Data
// Set has the same Digest whichever way it came and whoever wrote the File Meta
// Information around it. Whoever chooses the bytes can no more make two of one
// Digest than with SHA-256. b3sum prints it.
type Digest [32]byte

// DigestOf is the Digest of a Data Set.
func DigestOf(dataSet []byte) Digest { return blake3.Sum256(dataSet) }

// Digester computes the Digest of a Data Set that comes in pieces, however it is
// cut. It is for one goroutine at a time.
type Digester blake3.Hasher

// NewDigester returns a Digester of nothing yet.
func NewDigester() *Digester { return (*Digester)(blake3.New()) }

// Write implements io.Writer. It never fails.
func (d *Digester) Write(p []byte) (int, error) { return (*blake3.Hasher)(d).Write(p) }

// Digest is of all that was written since the last Reset. More may be written.
func (d *Digester) Digest() (sum Digest) {
	(*blake3.Hasher)(d).Sum(sum[:0])
	return sum
}

// Reset forgets what was written, so that the Digester serves another Data Set.
func (d *Digester) Reset() { (*blake3.Hasher)(d).Reset() }

// String is the digest in lower-case hexadecimal.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// MarshalText implements encoding.TextMarshaler.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler; its errors wrap ErrInvalid.
func (d *Digest) UnmarshalText(text []byte) error {
	if len(text) != hex.EncodedLen(len(d)) {
		return fmt.Errorf("%w: a digest has %d hexadecimal digits, not %d", ErrInvalid, hex.EncodedLen(len(d)), len(text))
	}
	if _, err := hex.Decode(d[:], text); err != nil {
		return fmt.Errorf("%w: digest: %w", ErrInvalid, err)
	}
	return nil
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler, for decoders that would
// set byte by byte; its errors wrap ErrInvalid.
func (d *Digest) UnmarshalBinary(b []byte) error {
	if len(b) != len(d) {
		return fmt.Errorf("%w: a digest has %d bytes, not %d", ErrInvalid, len(d), len(b))
	}
	copy(d[:], b)
	return nil
}
