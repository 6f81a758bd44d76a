package index_test

import (
	"maps"
	"path/filepath"
	"testing"

	"github.com/esante-alsace/cigogne/storage/index"
)

// TestRefusals: a later moment stays, an earlier one changes nothing, and 0
// ends it.
func TestRefusals(t *testing.T) {
	x, err := index.Open(t.Context(), index.Options{Path: filepath.Join(t.TempDir(), "index.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	for _, c := range []struct {
		change index.Refusal
		want   map[string]int64
	}{
		{index.Refusal{Node: "n2", Before: 100}, map[string]int64{"n2": 100}},
		{index.Refusal{Node: "n3", Before: 100}, map[string]int64{"n2": 100, "n3": 100}},
		{index.Refusal{Node: "n2", Before: 90}, map[string]int64{"n2": 100, "n3": 100}},
		{index.Refusal{Node: "n2", Before: 110}, map[string]int64{"n2": 110, "n3": 100}},
		{index.Refusal{Node: "n2"}, map[string]int64{"n3": 100}},
		{index.Refusal{Node: "n9"}, map[string]int64{"n3": 100}},
	} {
		entry, err := index.EncodeBatch(index.Batch{Refusals: []index.Refusal{c.change}})
		if err != nil {
			t.Fatal(err)
		}
		b, err := index.DecodeBatch(entry)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := x.Apply(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		if got, err := x.Refusals(t.Context()); err != nil || !maps.Equal(got, c.want) {
			t.Errorf("%+v: %v, %v", c.change, got, err)
		}
	}
	for _, bad := range []index.Refusal{{Before: 1}, {Node: "n2", Before: -1}} {
		if _, err := index.EncodeBatch(index.Batch{Refusals: []index.Refusal{bad}}); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}
