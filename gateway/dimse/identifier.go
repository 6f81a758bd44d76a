package dimse

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
)

const (
	tagSpecificCharacterSet dicom.Tag = 0x00080005
	tagQueryRetrieveLevel   dicom.Tag = 0x00080052
)

// Bounds of an Identifier: of its bytes, of its values, of what is kept of it in
// memory, and of how long it may take. A list of 20,000 UIDs fits.
const (
	identifierBytes  = 3 << 19
	identifierValues = 64 << 10
	identifierKept   = 4 << 20
	identifierTime   = 30 * time.Second
)

// identifier is the Data Set of a request of Query/Retrieve (PS3.4 §C.4): what
// is asked for, and at which level.
type identifier struct {
	level string // QueryRetrieveLevel, as far as one may be long
	// keys are all others, but for SpecificCharacterSet: their text is in UTF-8.
	keys dicom.DataSet
}

// readIdentifier reads an Identifier to its end. One that is not well-formed is
// storage.ErrInvalid, one beyond the bounds storage.ErrTooLarge; an error of
// body itself is handed on.
func readIdentifier(body io.Reader, transferSyntax string, until time.Time) (identifier, error) {
	scanner := dicom.NewScanner(transferSyntax, dicom.ScanLimits{
		MaxDepth: 8, MaxElements: 4096, BulkText: identifierBytes, MaxIdentity: identifierBytes,
		MaxKept: identifierKept, MaxInflated: identifierBytes,
	})
	defer scanner.Abort()
	length, values := 0, 0
	_, err := io.Copy(writerFunc(func(p []byte) (int, error) {
		length, values = length+len(p), values+bytes.Count(p, []byte{'\\'})
		if length > identifierBytes || values > identifierValues || time.Now().After(until) {
			return 0, fmt.Errorf("%w: the Identifier, or it takes too long", storage.ErrTooLarge)
		}
		return scanner.Write(p)
	}), body)
	if err != nil {
		return identifier{}, err
	}
	found, err := scanner.Close()
	switch {
	case err != nil:
		return identifier{}, err
	case found.Overflow:
		return identifier{}, fmt.Errorf("%w: the Identifier", storage.ErrTooLarge)
	}
	return identifier{
		level: clip(found.DataSet.String(tagQueryRetrieveLevel)),
		keys:  found.DataSet.Without(tagQueryRetrieveLevel, tagSpecificCharacterSet),
	}, nil
}

// uids are the values of a key that is a UID or a list of them, none when it is
// not there or empty. What is no UID is storage.ErrInvalid.
func (id identifier) uids(tag dicom.Tag) ([]string, error) {
	e, _ := id.keys.Get(tag)
	for _, uid := range e.Values {
		if !storage.ValidUID(uid) {
			return nil, fmt.Errorf("%w: %s holds what is no UID", storage.ErrInvalid, tag)
		}
	}
	return e.Values, nil
}

// single tells whether a key has one value that is matched as it is, as the
// unique keys above the level of a hierarchical request must be (PS3.4
// §C.4.1.2.1).
func (id identifier) single(tag dicom.Tag) bool {
	e, _ := id.keys.Get(tag)
	return len(e.Values) == 1 && e.Values[0] != "" && !strings.ContainsAny(e.Values[0], "*?")
}

// names tells whether a key says anything of its attribute: it is there, and not
// with what everything matches (PS3.4 §C.2.2.2.3).
func (id identifier) names(tag dicom.Tag) bool {
	e, _ := id.keys.Get(tag)
	return strings.Trim(strings.Join(e.Values, `\`), "* ") != ""
}

// appendIdentifier appends an Identifier as the transfer syntax has it, which is
// Explicit or Implicit VR Little Endian. Its text is in UTF-8, and it says so.
// What was received may be anything: a value that cannot be written is left
// empty and does not hide the others.
func appendIdentifier(b []byte, ds dicom.DataSet, transferSyntax string) ([]byte, error) {
	encode := dicom.AppendImplicit
	if transferSyntax == ExplicitVRLittleEndian {
		encode = dicom.AppendExplicit
	}
	ds = ds.With(dicom.Element{Tag: tagSpecificCharacterSet, VR: "CS", Values: []string{"ISO_IR 192"}})
	out, err := encode(b, ds)
	if err == nil {
		return out, nil
	}
	for i := range ds { // With made it ours
		if _, err := encode(nil, ds[i:i+1]); err != nil {
			ds[i] = dicom.Element{Tag: ds[i].Tag, VR: ds[i].Tag.VR()}
		}
	}
	return encode(b, ds)
}
