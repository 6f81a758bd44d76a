//go:build !linux

package dir

import (
	"errors"
	"os"
)

// openBeneath is not there.
func openBeneath(*os.File, string) (*os.File, error) { return nil, errors.ErrUnsupported }
