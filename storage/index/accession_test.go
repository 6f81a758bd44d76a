package index_test

import (
	"testing"

	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/index/indextest"
)

// TestSeveralAccessionNumbers: a study of several orders is found by each.
func TestSeveralAccessionNumbers(t *testing.T) {
	for _, most := range []int{0, 1} {
		x, model := open(t), indextest.NewModel()
		x.PlanFor(most, most)
		p := indextest.Population{Seed: 13, MaxSeries: 1, MaxInstances: 1}
		for n, numbers := range [][]string{{"A1", "B2"}, {"A1"}, {"B2"}, {"", "B2"}, {"B3"}, {`\`}, nil} {
			in := indextest.With(p.Study(n)[0], dicom.Element{Tag: 0x00080050, VR: "SH", Values: numbers})
			b := index.Batch{Received: []index.Instance{in}, Through: in.At}
			apply(t, x, b)
			model.Receive(b)
		}
		for _, asked := range []string{"B2", "A1", "B*", "*2", "A1*", `A1\B3`, "nothing", `?1`, "B2*"} {
			for _, level := range []index.Level{index.Study, index.Series} {
				holdPages(t, x, model, index.Query{Level: level, Match: []index.Condition{{Path: []dicom.Tag{0x00080050}, Value: asked}}})
			}
		}
	}
}
