package index_test

import (
	"reflect"
	"testing"

	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/index/indextest"
)

// Names are found in whatever way the index looks for them, in one answer and
// page by page, among more studies than are read at once.
func TestNamesAreFoundInOrder(t *testing.T) {
	if testing.Short() {
		t.Skip("one goroutine does it all: a race detector finds nothing here")
	}
	x, model := open(t), indextest.NewModel()
	p := indextest.Population{Seed: 11, MaxSeries: 2, MaxInstances: 1}
	batches(p, 400, 200, func(b index.Batch) {
		apply(t, x, b)
		model.Receive(b)
	})
	for _, name := range []string{
		"muller^*", "MÜLLER*", "müller", "M*", "*", "S*T*", "oberlé^J*", "oberlé^?EAN*", "*odile*", "nobody^*", "NOBODY*",
		"Yamada^*", "山田*", "=山田^*", "Y*=山*", "山田^太郎", "MULLER^JEAN", "d'argent^*", "100%_*", "Ben Ali^*", "ben*", "^*", "^JEAN", "[*", "DUPONT*MARTIN^*",
	} {
		for _, more := range [][]index.Condition{
			nil,
			{{Path: []dicom.Tag{0x00080020}, Value: "20180101-20191231"}},
			{{Path: []dicom.Tag{0x00080020}, Value: "-20191231"}, {Path: []dicom.Tag{0x00080061}, Value: "CT"}},
			{{Path: []dicom.Tag{0x00080061}, Value: `MR\DX`}},
			{{Path: []dicom.Tag{0x00100020}, Value: "0*"}},
		} {
			for _, level := range []index.Level{index.Study, index.Series} {
				q := index.Query{Level: level, Match: append([]index.Condition{{Path: []dicom.Tag{0x00100010}, Value: name}}, more...)}
				want, err := model.Search(q)
				if err != nil {
					t.Fatal(err)
				}
				if got := search(t, x, q); len(got) != len(want) || len(got) > 0 && !reflect.DeepEqual(jsons(got), jsons(want)) {
					t.Errorf("%q and %v at level %d: %d answers, want %d in their order", name, more, level, len(got), len(want))
				}
				if q.Limit, q.Offset = 10, 70; len(want) > 70 {
					if got := search(t, x, q); !reflect.DeepEqual(jsons(got), jsons(want[70:min(80, len(want))])) {
						t.Errorf("%q and %v at level %d: a page is not that part of all", name, more, level)
					}
				}
			}
		}
	}
}
