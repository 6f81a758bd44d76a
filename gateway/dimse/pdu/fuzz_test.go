package pdu_test

import (
	"bytes"
	"errors"
	"io"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/esante-alsace/cigogne/gateway/dimse/pdu"
	"github.com/esante-alsace/cigogne/storage"
)

// seed adds every wire fixture, hostile ones too, from the given byte on.
func seed(f *testing.F, from int) {
	f.Helper()
	for _, pattern := range []string{"*.hex", "hostile/*.hex"} {
		names, err := filepath.Glob(filepath.Join("../../../testdata/wire", pattern))
		if err != nil || len(names) == 0 {
			f.Fatalf("no fixtures: %v", err)
		}
		for _, name := range names {
			rel, err := filepath.Rel("../../../testdata/wire", name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(fixture(f, rel)[from:])
		}
	}
}

func FuzzAssociateRQ(f *testing.F) {
	seed(f, pdu.HeaderLength)
	f.Fuzz(func(t *testing.T, b []byte) {
		first, err := pdu.DecodeAssociateRQ(b)
		again(t, first, err, pdu.DecodeAssociateRQ)
	})
}

func FuzzAssociateAC(f *testing.F) {
	seed(f, pdu.HeaderLength)
	f.Fuzz(func(t *testing.T, b []byte) {
		first, err := pdu.DecodeAssociateAC(b)
		again(t, first, err, pdu.DecodeAssociateAC)
	})
}

// again encodes what was decoded and decodes it: it must be the same.
func again[P interface {
	Append([]byte) ([]byte, error)
}](t *testing.T, first P, err error, decode func([]byte) (P, error)) {
	if err != nil {
		if !errors.Is(err, storage.ErrInvalid) {
			t.Fatalf("not an error of the protocol: %v", err)
		}
		return
	}
	b, err := first.Append(nil)
	if errors.Is(err, storage.ErrTooLarge) {
		return // items that were left out are written now
	}
	if err != nil {
		t.Fatal(err)
	}
	second, err := decode(b[pdu.HeaderLength:])
	if err != nil || !reflect.DeepEqual(first, second) {
		t.Fatalf("decoded %+v, then %+v, %v", first, second, err)
	}
}

func FuzzControl(f *testing.F) {
	seed(f, pdu.HeaderLength)
	f.Fuzz(func(t *testing.T, b []byte) {
		if rj, err := pdu.DecodeAssociateRJ(b); err == nil {
			if again, err := pdu.DecodeAssociateRJ(rj.Append(nil)[pdu.HeaderLength:]); err != nil || again != rj || rj.String() == "" {
				t.Fatalf("%+v, %+v, %v", rj, again, err)
			}
		}
		if a, err := pdu.DecodeAbort(b); err == nil {
			if again, err := pdu.DecodeAbort(a.Append(nil)[pdu.HeaderLength:]); err != nil || again != a || a.Reason.String() == "" {
				t.Fatalf("%+v, %+v, %v", a, again, err)
			}
		}
	})
}

// FuzzReader reads a stream of PDUs in two ways, which must agree.
func FuzzReader(f *testing.F) {
	seed(f, 0)
	f.Fuzz(func(t *testing.T, b []byte) {
		read := func(r *pdu.Reader) ([]byte, error) { return io.ReadAll(struct{ io.Reader }{r}) }
		write := func(r *pdu.Reader) ([]byte, error) {
			var out bytes.Buffer
			_, err := r.WriteTo(&out)
			return append([]byte{}, out.Bytes()...), err
		}
		one, err1 := readAll(pdu.NewReader(bytes.NewReader(b), 64), read)
		two, err2 := readAll(pdu.NewReader(bytes.NewReader(b), 4096), write)
		if err1 == nil || err2 == nil || err1.Error() != err2.Error() {
			t.Fatalf("%v, %v", err1, err2)
		}
		if len(one) != len(two) {
			t.Fatalf("%d and %d fragments", len(one), len(two))
		}
		for i := range one {
			if !bytes.Equal(one[i], two[i]) {
				t.Fatalf("fragment %d differs", i)
			}
		}
	})
}
