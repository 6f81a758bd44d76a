package pack

import (
	"encoding/json"
	"fmt"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
)

// encodeLayout writes a layout that may be nil. It fails with
// storage.ErrInvalid when the layout contradicts itself or the Data Set, and
// with storage.ErrTooLarge beyond MaxLayout.
func encodeLayout(l *dicom.Layout, inst storage.Instance) ([]byte, error) {
	if l == nil {
		return []byte("null"), nil
	}
	if err := l.Check(inst.DataSet().Length, inst.TransferSyntaxUID); err != nil {
		return nil, fmt.Errorf("layout of %s: %w", inst.Key, err)
	}
	b, err := json.Marshal(l)
	if err == nil && len(b) > MaxLayout {
		err = fmt.Errorf("%w: layout of %s takes %d bytes", storage.ErrTooLarge, inst.Key, len(b))
	}
	return b, err
}

// decodeLayout reads what encodeLayout wrote, and vouches that every range
// lies in the Data Set and every index in its slice.
func decodeLayout(b []byte, inst storage.Instance) (*dicom.Layout, error) {
	if string(b) == "null" {
		return nil, nil //nolint:nilnil // a layout that is not known
	}
	l := new(dicom.Layout)
	if err := json.Unmarshal(b, l); err != nil {
		return nil, err
	}
	return l, l.Check(inst.DataSet().Length, inst.TransferSyntaxUID)
}
