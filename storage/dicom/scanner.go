package dicom

import (
	"errors"

	"github.com/esante-alsace/cigogne/storage"
)

// Scanner reads a Data Set (without preamble and File Meta Information) that
// is written to it, as it arrives and in chunks of any size. It checks the
// whole structure, keeps the attributes, and passes over Pixel Data and other
// large values without copying them. Its memory is bounded by ScanLimits,
// whatever the Data Set.
//
// Either Close or Abort must be called. A Scanner is not safe for use by
// several goroutines.
type Scanner struct {
	walk    *walker
	collect *collector
	inflate *inflater // of a deflated transfer syntax
	err     error
	ended   bool
}

var errEnded = errors.New("the scanner is closed")

// NewScanner reads a Data Set in the transfer syntax, which may be unknown: see
// LookupTransferSyntax.
func NewScanner(transferSyntaxUID string, limits ScanLimits) *Scanner {
	return NewScannerInto(make(DataSet, 0, usualElements), transferSyntaxUID, limits)
}

// usualElements is more than the top level of most Data Sets has.
const usualElements = 128

// NewScannerInto is NewScanner for who reads one Data Set after the other: the
// Result's takes the place of what room held, as far as it fits there.
func NewScannerInto(room DataSet, transferSyntaxUID string, limits ScanLimits) *Scanner {
	limits = limits.withDefaults()
	ts := LookupTransferSyntax(transferSyntaxUID)
	s := &Scanner{collect: newCollector(room, limits, !ts.Deflated)}
	s.walk = newWalker(ts, limits, s.collect)
	if ts.Deflated {
		s.inflate = startInflater(s.walk, limits)
	}
	return s
}

// Write implements io.Writer. An error is final: the Data Set can't be read.
// It wraps storage.ErrInvalid and names the element and its offset; beyond a
// limit of inflation it wraps storage.ErrTooLarge.
func (s *Scanner) Write(p []byte) (int, error) {
	switch {
	case s.ended:
		return 0, errEnded
	case s.err != nil:
	case s.inflate != nil:
		s.err = s.inflate.write(p)
	default:
		s.err = s.walk.write(p)
	}
	if s.err != nil {
		return 0, s.err
	}
	return len(p), nil
}

// Key returns the UIDs that were written so far, for who must know early what
// an instance is called. Of a deflated Data Set there are none before Close.
func (s *Scanner) Key() storage.InstanceKey {
	if s.inflate != nil {
		return storage.InstanceKey{}
	}
	r := &s.collect.res
	return storage.InstanceKey{
		StudyInstanceUID: r.StudyInstanceUID, SeriesInstanceUID: r.SeriesInstanceUID, SOPInstanceUID: r.SOPInstanceUID,
	}
}

// Close tells that the Data Set has ended. One that ends anywhere but behind a
// top-level element is refused with an error that wraps storage.ErrInvalid.
func (s *Scanner) Close() (*Result, error) {
	if s.ended {
		return nil, errEnded
	}
	s.ended = true
	var err error
	if s.inflate != nil {
		err = s.inflate.close()
	} else if err = s.err; err == nil {
		err = s.walk.close()
	}
	if err != nil {
		return nil, err
	}
	return s.collect.result(), nil
}

// Abort gives the Data Set up. It does nothing after Close or Abort.
func (s *Scanner) Abort() {
	if s.ended {
		return
	}
	s.ended = true
	if s.inflate != nil {
		s.inflate.abort()
	}
}
