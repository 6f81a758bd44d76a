package index_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/index/indextest"
)

func TestImages(t *testing.T) {
	x := open(t)
	in := oneSeries()
	apply(t, x, index.Batch{Received: in})
	apply(t, x, index.Batch{Planned: []index.Plan{planOf("p", false, in[1], in[3])}, Archived: []index.PackArchive{archived("p", "dir:///a")}})
	stranger := indextest.Altered(in[0], 1) // in the pack's metadata, but no member
	stranger.Key.SOPInstanceUID = "1.2.3"
	packed := []index.PackedInstance{
		{Instance: in[3].Instance, Attributes: in[3].Attributes}, {Instance: in[1].Instance, Attributes: in[1].Attributes},
		{Instance: stranger.Instance, Attributes: stranger.Attributes},
	}
	for _, c := range []struct {
		name string
		q    index.Query
		want string
	}{
		{"all in order", index.Query{}, "12345"},
		{"by number", index.Query{Match: []index.Condition{{Path: []dicom.Tag{0x00200013}, Value: "4"}}}, "4"},
		{"by name", index.Query{Match: []index.Condition{{Path: []dicom.Tag{0x00080018}, Value: in[4].Key.SOPInstanceUID}}}, "5"},
		{"by class and study", index.Query{StudyInstanceUID: in[0].Key.StudyInstanceUID, Match: []index.Condition{{Path: []dicom.Tag{0x00080016}, Value: in[0].SOPClassUID}}}, "12345"},
		{"by an attribute above", index.Query{Match: []index.Condition{{Path: []dicom.Tag{0x00100020}, Value: "nobody"}}}, ""},
	} {
		c.q.Level = index.Image
		m, err := index.Compile(c.q)
		if err != nil {
			t.Fatal(err)
		}
		var got strings.Builder
		for s, err := range x.Images(t.Context(), c.q) {
			if err != nil {
				t.Fatal(err)
			}
			read := packed
			if len(s.Packs) == 0 {
				read = nil
			}
			for _, ds := range m.Answers(s, read) {
				got.WriteString(first(ds, 0x00200013))
			}
		}
		if got.String() != c.want {
			t.Errorf("%s: %q, want %q", c.name, got.String(), c.want)
		}
	}
	for _, err := range x.Search(t.Context(), index.Query{Level: index.Image}) {
		if !errors.Is(err, storage.ErrUnsupported) {
			t.Errorf("Search at the Image level: %v", err)
		}
	}
}
