package dicom_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
)

func all(dicom.Tag, int) bool { return true }

func TestSelectJSON(t *testing.T) {
	const whole = `{"00080060":{"vr":"CS","Value":["CT"]}, "00081030":{"vr":"LO","Value":["a \"b\\"]},
		"00081032":{"vr":"SQ","Value":[{"00080100":{"vr":"SH","Value":["},{"]}}]},"00100020":{"vr":"LO","Value":["4711"]}}`
	tags := []dicom.Tag{0x00081030, 0x00081032, 0x00100020, 0x00200010}
	for name, c := range map[string]struct {
		text string
		most int
		fits func(dicom.Tag, int) bool
		want string
	}{
		"what is wanted": {whole, 100, all, `{"00081030":{"vr":"LO","Value":["a \"b\\"]},"00081032":{"vr":"SQ","Value":[{"00080100":{"vr":"SH","Value":["},{"]}}]},"00100020":{"vr":"LO","Value":["4711"]}}`},
		"what is short":  {whole, 30, all, `{"00100020":{"vr":"LO","Value":["4711"]}}`},
		"what fits":      {whole, 100, func(tag dicom.Tag, n int) bool { return tag != 0x00100020 && n < 40 }, `{"00081030":{"vr":"LO","Value":["a \"b\\"]}}`},
		"nothing":        {`{}`, 100, all, `{}`},
		"nothing wanted": {` { "00080060" : { "vr" : "CS" } } `, 100, all, `{}`},
	} {
		ds, err := dicom.SelectJSON(strings.NewReader(c.text), tags, c.most, c.fits)
		if got := string(ds.AppendJSON(nil)); err != nil || got != c.want {
			t.Errorf("%s: %s, want %s, %v", name, got, c.want, err)
		}
	}
	for _, text := range []string{``, `[]`, `{`, `{"00100020":{"vr":"LO"}`, `{"00100020"}`, `{"00100020":{"vr":"LO","Value":["x]}}`, `{"00100020":1}`, `{"00100020":]}`, `{"00100020":}`, `{"00100020":"\`} {
		if ds, err := dicom.SelectJSON(strings.NewReader(text), tags, 100, all); !errors.Is(err, storage.ErrInvalid) {
			t.Errorf("%s: %v, %v", text, ds, err)
		}
	}
	failing := io.MultiReader(strings.NewReader(whole[:50]), errReader{io.ErrClosedPipe})
	if _, err := dicom.SelectJSON(failing, tags, 100, all); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a reader that fails: %v", err)
	}
}

type errReader struct{ error }

func (e errReader) Read([]byte) (int, error) { return 0, e.error }

// FuzzSelectJSON: of an object that is read whole, what is selected is the
// same.
func FuzzSelectJSON(f *testing.F) {
	f.Add([]byte(`{"00080060":{"vr":"CS","Value":["C\\T"]},"00081032":{"vr":"SQ","Value":[{"00080100":{"vr":"SH","Value":["\"}"]}}]}}`))
	f.Add([]byte(` {"00100010" : {"vr":"PN","Value":[{"Alphabetic":"a"}, null]}}`))
	tags := []dicom.Tag{0x00080060, 0x00081032, 0x00100010, 0x00100020}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := dicom.SelectJSON(bytes.NewReader(text), tags, math.MaxInt, all)
		if err != nil && !errors.Is(err, storage.ErrInvalid) {
			t.Fatal(err)
		}
		var whole dicom.DataSet
		if bytes.Contains(text, []byte(`\u`)) || bytes.Equal(bytes.TrimSpace(text), []byte("null")) || whole.UnmarshalJSON(text) != nil {
			return // names may be written otherwise
		}
		if want := whole.Select(tags); err != nil || fmt.Sprint(got) != fmt.Sprint(want) && !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %v, not %v: %v", text, got, want, err)
		}
	})
}
