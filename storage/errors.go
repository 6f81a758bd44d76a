package storage

import (
	"errors"
	"fmt"
)

// The errors that stores return, wrapped with what happened. A transport asks
// with errors.Is and answers with its own code; no other package decides what
// 'not found' means.
var (
	// ErrNotFound: there is no such thing, or none that may be seen.
	ErrNotFound = errors.New("not found")
	// ErrInvalid: the bytes or the question break the standard or a bound;
	// asking again will not help.
	ErrInvalid = errors.New("invalid")
	// ErrMismatch: the Data Set is not the one that was announced.
	ErrMismatch = errors.New("data set does not match what was announced")
	// ErrTooLarge: a configured length limit was passed.
	ErrTooLarge = errors.New("too large")
	// ErrGone: it was there, and is kept no longer.
	ErrGone = errors.New("not kept any more")
	// ErrConflict: the name is taken by other bytes; nothing was overwritten.
	ErrConflict = errors.New("conflict")
	// ErrFull: no space to keep it now; asking again later may help. With
	// ErrUnavailable as well, space comes back without anybody's doing.
	ErrFull = errors.New("out of space")
	// ErrCorrupt: stored bytes are not those that were written.
	ErrCorrupt = errors.New("corrupt")
	// ErrUnavailable: a part that is needed does not answer now; asking again
	// later may help.
	ErrUnavailable = errors.New("unavailable")
	// ErrUnsupported: understood, but not something this node does.
	ErrUnsupported = errors.New("not supported")
	// ErrEarlierDigest: an earlier build of Cigogne wrote it, whose digests are
	// another algorithm's. It is not damaged, and this one cannot tell.
	ErrEarlierDigest = fmt.Errorf("%w: an earlier build wrote it, whose digests are SHA-256 and not BLAKE3", ErrUnsupported)
	// ErrProtected: a hold or a retention rule keeps it.
	ErrProtected = errors.New("protected")
	// ErrForbidden: the asker may not.
	ErrForbidden = errors.New("forbidden")
)
