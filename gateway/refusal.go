package gateway

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/esante-alsace/cigogne/storage"
)

// Refusal is why an instance was not stored, in one of a few words.
type Refusal string

// The reasons.
const (
	RefusedInvalid     Refusal = "invalid"     // it breaks the standard
	RefusedMismatch    Refusal = "mismatch"    // it is not what was announced
	RefusedTooLarge    Refusal = "too large"   // it passes a limit
	RefusedForbidden   Refusal = "forbidden"   // its sender may not
	RefusedUnsupported Refusal = "unsupported" // it is of a kind that is not taken
	RefusedFull        Refusal = "full"        // there is no space
	RefusedUnavailable Refusal = "unavailable" // it cannot be kept just now
	RefusedCut         Refusal = "cut"         // its sender did not bring it to its end
	RefusedFailed      Refusal = "failed"      // anything else
)

// RefusalOf is the reason that an error of Receive or Wait stands for.
func RefusalOf(err error) Refusal {
	for _, known := range []struct {
		is  error
		why Refusal
	}{
		{storage.ErrFull, RefusedFull},
		{storage.ErrUnavailable, RefusedUnavailable},
		{storage.ErrForbidden, RefusedForbidden},
		{storage.ErrMismatch, RefusedMismatch},
		{storage.ErrTooLarge, RefusedTooLarge},
		{storage.ErrUnsupported, RefusedUnsupported},
		{storage.ErrInvalid, RefusedInvalid},
		{io.ErrUnexpectedEOF, RefusedCut},
		{os.ErrDeadlineExceeded, RefusedCut},
		{context.Canceled, RefusedCut},
	} {
		if errors.Is(err, known.is) {
			return known.why
		}
	}
	return RefusedFailed
}
