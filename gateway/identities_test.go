package gateway

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
)

// FuzzIdentities: an object in the archive, whatever is in it, is read or
// refused; what is read is written again as the same.
func FuzzIdentities(f *testing.F) {
	f.Add([]byte(`{"format":"cigogne identities","version":1}` + "\n" +
		`{"name":"A","kind":"linked","local":{"issuer":"HUS","patientID":"1"},"authority":{"universalID":"1.2"},"number":"7","traits":{},"by":"x","at":1,"sequence":3}`))
	f.Add([]byte(`{"format":"cigogne identities","version":2}`))
	f.Add([]byte("\n\n"))
	f.Fuzz(func(t *testing.T, object []byte) {
		changes, err := decodeIdentities(bytes.NewReader(object))
		if err != nil {
			if !errors.Is(err, storage.ErrCorrupt) && !errors.Is(err, storage.ErrUnsupported) {
				t.Fatal(err)
			}
			return
		}
		again, err := encodeIdentities(changes)
		if err != nil {
			t.Fatal(err)
		}
		back, err := decodeIdentities(bytes.NewReader(again))
		if err != nil || !reflect.DeepEqual(back, changes) {
			t.Fatalf("%v: %+v, was %+v", err, back, changes)
		}
	})
}
