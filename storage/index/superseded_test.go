package index_test

import (
	"reflect"
	"slices"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/index/indextest"
)

// shownOf is what searches show of a study: its series and instances as it
// counts them, how many each series that is listed counts, and the instances
// that are listed and counted to be skipped.
type shownOf struct {
	series, instances string
	perSeries         []string
	listed            []string
	counted           int
}

func shown(t *testing.T, x *index.Index, study string, superseded bool) (s shownOf) {
	t.Helper()
	for _, ds := range search(t, x, index.Query{Level: index.Study, StudyInstanceUID: study}) {
		s.series, s.instances = first(ds, 0x00201206), first(ds, 0x00201208)
	}
	for _, ds := range search(t, x, index.Query{Level: index.Series, StudyInstanceUID: study}) {
		s.perSeries = append(s.perSeries, first(ds, 0x00201209))
	}
	q := index.Query{Level: index.Image, StudyInstanceUID: study, Superseded: superseded}
	m, err := index.Compile(q)
	if err != nil {
		t.Fatal(err)
	}
	for of, err := range x.Images(t.Context(), q) {
		if err != nil {
			t.Fatal(err)
		}
		s.counted += of.Instances
		for _, ds := range m.Answers(of, nil) {
			s.listed = append(s.listed, first(ds, 0x00080018))
		}
	}
	slices.Sort(s.listed)
	return s
}

// TestSuperseded: of the manifests of a study searches list and count the one
// that stands, whatever was deleted and undone meanwhile, and each by its name.
func TestSuperseded(t *testing.T) {
	x := open(t)
	in := indextest.Population{Seed: 9, MaxSeries: 1, MaxInstances: 1}.Study(1)[0]
	in.At = index.Position{}
	uid, image := in.Key.StudyInstanceUID, in.Key.SOPInstanceUID
	versions := []string{"", "9.1", "9.2", "9.3"} // they sort behind the image
	received := func(version int) index.Batch {
		own := in
		own.Origin = storage.Origin{Transport: storage.TransportManifest}
		own.Key.SeriesInstanceUID, own.Key.SOPInstanceUID, own.Digest = "9.9", versions[version], storage.Digest{byte(version)}
		return index.Batch{Stamp: lifeTime(50), Received: []index.Instance{own}}
	}
	complete := func(version int, has bool) {
		t.Helper()
		l := lifeOf(t, x, uid)
		c := index.Completion{StudyInstanceUID: uid, Revision: l.Revision, Version: int64(version), Content: storage.Digest{byte(version)}, Instances: 1}
		if has {
			c.Manifest = &index.Manifest{SOPInstanceUID: versions[version], Version: int64(version), Number: index.PatientKey{Issuer: "1.2.3", PatientID: "9"}}
		}
		apply(t, x, index.Batch{Stamp: lifeTime(40), Life: &index.Life{Completions: []index.Completion{c}}})
	}
	made := func(version int) {
		t.Helper()
		apply(t, x, received(version))
		apply(t, x, index.Batch{Stamp: lifeTime(60), Life: &index.Life{Made: []index.MadeManifest{{StudyInstanceUID: uid, SOPInstanceUID: versions[version]}}}})
	}
	changed := func() { // by somebody who knows of another instance, and deletes it
		t.Helper()
		more := in
		more.Key.SeriesInstanceUID, more.Key.SOPInstanceUID, more.Digest = "8.8", "8.8.8", storage.Digest{99}
		apply(t, x, index.Batch{Stamp: lifeTime(70), Received: []index.Instance{more}})
		apply(t, x, index.Batch{Stamp: lifeTime(71), Deletions: []index.Deletion{
			{ID: "c" + lifeOf(t, x, uid).Content.String(), Step: index.MarkDeletion, StudyInstanceUID: uid, SeriesInstanceUID: "8.8", Act: index.Act{At: 1 << 62}, Due: 1 << 62},
		}})
	}
	holds := func(what string, listed ...string) {
		t.Helper()
		got := shown(t, x, uid, false)
		want := shownOf{series: "1", instances: "1", perSeries: []string{"1"}, listed: append([]string{image}, listed...), counted: 1 + len(listed)}
		if len(listed) > 0 {
			want.series, want.instances, want.perSeries = "2", "2", []string{"1", "1"}
		}
		if got.series != want.series || got.instances != want.instances || !slices.Equal(got.perSeries, want.perSeries) ||
			!slices.Equal(got.listed, want.listed) || got.counted != want.counted {
			t.Errorf("%s: %+v, want %+v", what, got, want)
		}
		sound(t, x)
	}
	apply(t, x, index.Batch{Stamp: lifeTime(10), Received: []index.Instance{in}})
	complete(1, true)
	holds("none is stored")
	made(1)
	holds("the first", versions[1])
	changed()
	complete(2, true)
	holds("the second is not stored")
	made(2)
	holds("the second", versions[2])
	if all := shown(t, x, uid, true); len(all.listed) != 3 || all.counted != 3 {
		t.Errorf("with those before: %+v", all)
	}
	by := index.Query{Level: index.Image, Match: []index.Condition{{Path: []dicom.Tag{0x00080018}, Value: versions[1]}}}
	m, err := index.Compile(by)
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for of, err := range x.Images(t.Context(), by) {
		if err != nil {
			t.Fatal(err)
		}
		named += len(m.Answers(of, nil))
	}
	if named != 1 {
		t.Errorf("by its name the first is found %d times", named)
	}
	for _, step := range []index.DeletionStep{index.MarkDeletion, index.UndoDeletion} {
		apply(t, x, index.Batch{Stamp: lifeTime(80), Deletions: []index.Deletion{
			{ID: "d", Step: step, StudyInstanceUID: uid, Act: index.Act{At: 1 << 62}, Due: 1 << 62},
		}})
	}
	holds("deleted and undone", versions[2])
	changed()
	complete(3, false)
	holds("a version without one")
	apply(t, x, index.Batch{Stamp: lifeTime(90), Deletions: []index.Deletion{
		{ID: "e", Step: index.MarkDeletion, StudyInstanceUID: uid, SeriesInstanceUID: in.Key.SeriesInstanceUID, Act: index.Act{At: 1 << 62}, Due: 1 << 62},
	}})
	if got := shown(t, x, uid, false); !reflect.DeepEqual(got, shownOf{}) {
		t.Errorf("nothing is left but those before: %+v", got)
	}
	apply(t, x, index.Batch{Stamp: lifeTime(91), Deletions: []index.Deletion{{ID: "e", Step: index.UndoDeletion, StudyInstanceUID: uid, Act: index.Act{At: 1 << 62}}}})
	holds("its images are back")
}
