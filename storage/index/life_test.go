package index_test

import (
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/index/indextest"
)

// lifeTime is when the n-th batch of these tests was proposed.
func lifeTime(n int64) *index.Stamp { return &index.Stamp{Node: "n1", At: n * 1e9, Keep: 1000} }

// lifeOf reads the life of a study.
func lifeOf(t *testing.T, x *index.Index, study string) index.StudyLife {
	t.Helper()
	l, err := x.StudyLife(t.Context(), study)
	if err != nil || l == nil {
		t.Fatalf("%v, %v", l, err)
	}
	return *l
}

// TestLife: what changes a study opens it, a decision closes it when it was
// made on what the study is, and no version is given twice, not to a study
// that was deleted either.
func TestLife(t *testing.T) {
	x := open(t)
	study := indextest.Population{Seed: 7, MaxSeries: 2, MaxInstances: 3}.Study(3)
	for i := range study {
		study[i].At = index.Position{}
		study[i].Attributes = study[0].Attributes
	}
	uid, first, late := study[0].Key.StudyInstanceUID, study[:len(study)-1], study[len(study)-1:]
	complete := func(at, revision, version int64, m *index.Manifest) index.StudyLife {
		apply(t, x, index.Batch{Stamp: lifeTime(at), Life: &index.Life{Completions: []index.Completion{{
			StudyInstanceUID: uid, Revision: revision, Version: version, Content: storage.Digest{byte(version)}, Instances: 1, Cause: "quiet", Manifest: m,
		}}}})
		return lifeOf(t, x, uid)
	}
	manifest := func(version int64) *index.Manifest {
		return &index.Manifest{SOPInstanceUID: "2.25.77", Version: version, Number: index.PatientKey{Issuer: "1.2.3", PatientID: "9"}}
	}

	apply(t, x, index.Batch{Stamp: lifeTime(10), Received: first})
	if l := lifeOf(t, x, uid); !l.Open || l.Since < 10e9 || l.Revision != 1 || l.Version != 0 {
		t.Fatalf("received: %+v", l)
	}
	if l := complete(11, 7, 1, nil); !l.Open {
		t.Errorf("a decision on another revision: %+v", l)
	}
	if l := complete(12, 1, 1, manifest(1)); l.Open || l.Version != 1 || !l.Owed || l.Completed != 12e9 || l.Manifest.Created != 12e9 {
		t.Errorf("complete: %+v", l)
	}
	if l := complete(13, 1, 2, nil); l.Version != 1 {
		t.Errorf("the same decision again: %+v", l)
	}
	made := index.Batch{Stamp: lifeTime(14), Life: &index.Life{Made: []index.MadeManifest{{StudyInstanceUID: uid, SOPInstanceUID: "2.25.78"}}}}
	apply(t, x, made)
	if l := lifeOf(t, x, uid); !l.Owed {
		t.Errorf("another manifest was made: %+v", l)
	}
	if n, err := x.CountOwed(t.Context()); err != nil || n != 1 {
		t.Errorf("%d manifests are owed, %v", n, err)
	}
	made.Life.Made[0].SOPInstanceUID = "2.25.77"
	apply(t, x, made)
	if l := lifeOf(t, x, uid); l.Owed || l.Open {
		t.Errorf("made: %+v", l)
	}
	if n, err := x.CountOwed(t.Context()); err != nil || n != 0 {
		t.Errorf("%d manifests are owed, %v", n, err)
	}

	own := study[0]
	own.Origin = storage.Origin{Transport: storage.TransportManifest}
	own.Key.SeriesInstanceUID, own.Key.SOPInstanceUID = "2.25.76", "2.25.77"
	own.Digest = storage.Digest{7}
	own.Attributes = own.Attributes.With(indextest.Text(0x00100020, "LO", "279035121518989"))
	for range 2 { // looked up, then remembered
		if is, err := x.Has(t.Context(), own); err != nil || is != index.StandingNew {
			t.Errorf("a manifest would be %d, %v", is, err)
		}
	}
	apply(t, x, index.Batch{Stamp: lifeTime(15), Received: []index.Instance{own}})
	s, err := x.Counts(t.Context())
	if l := lifeOf(t, x, uid); err != nil || l.Open || s.Conflicts != 0 || s.Instances != int64(len(first)+1) {
		t.Errorf("a manifest opens its study, or is another patient's: %+v, %+v, %v", l, s, err)
	}
	apply(t, x, index.Batch{Stamp: lifeTime(16), Received: first}) // duplicates
	if l := lifeOf(t, x, uid); l.Open {
		t.Errorf("duplicates: %+v", l)
	}
	apply(t, x, index.Batch{Stamp: lifeTime(17), Received: late})
	if l := lifeOf(t, x, uid); !l.Open || l.Revision != 2 || l.Version != 1 {
		t.Errorf("what came later: %+v", l)
	}
	complete(18, 2, 2, nil)

	mark := index.Deletion{ID: "d1", Step: index.MarkDeletion, StudyInstanceUID: uid, Act: index.Act{At: 1 << 62}, Due: 1 << 62}
	apply(t, x, index.Batch{Stamp: lifeTime(19), Deletions: []index.Deletion{mark}})
	if l := lifeOf(t, x, uid); !l.Open || l.Since != 0 || l.Revision != 3 {
		t.Errorf("deleted: %+v", l)
	}
	apply(t, x, index.Batch{Stamp: lifeTime(20), Received: []index.Instance{own}})
	if s, err := x.Counts(t.Context()); err != nil || s.Studies != 0 {
		t.Errorf("a manifest made a study of its own: %+v, %v", s, err)
	}
	quiet, err := x.QuietStudies(t.Context(), 0, nil, 10)
	if err != nil || len(quiet) != 1 || quiet[0].Version != 2 {
		t.Errorf("%+v, %v", quiet, err)
	}
	apply(t, x, index.Batch{Stamp: lifeTime(21), Deletions: []index.Deletion{{ID: "d1", Step: index.UndoDeletion, Act: index.Act{At: 1}}}})
	if l := lifeOf(t, x, uid); !l.Open || l.Revision != 4 || l.Version != 2 {
		t.Errorf("restored: %+v", l)
	}
	sound(t, x)
}

// TestManifestsComeFirst: a rebuild may find the pack of a manifest before
// those of its study, whose patient is nobody else for it.
func TestManifestsComeFirst(t *testing.T) {
	x := open(t)
	in := indextest.Population{Seed: 8, MaxSeries: 1, MaxInstances: 1}.Study(1)[0]
	in.At = index.Position{}
	own := in
	own.Origin = storage.Origin{Transport: storage.TransportManifest}
	own.Key.SeriesInstanceUID, own.Key.SOPInstanceUID, own.Digest = "2.25.76", "2.25.77", storage.Digest{7}
	own.Attributes = own.Attributes.With(indextest.Text(0x00100020, "LO", "279035121518989"))
	pack := func(name string, in index.Instance) index.AdoptedPack {
		return index.AdoptedPack{Pack: index.PackArchive{PackID: name, Archive: "a", Key: "studies/" + name, Size: 1}, Instances: []index.Instance{in}}
	}
	apply(t, x, index.Batch{Adopted: []index.AdoptedPack{pack("first", own)}})
	apply(t, x, index.Batch{Adopted: []index.AdoptedPack{pack("second", in)}})
	if s, err := x.Counts(t.Context()); err != nil || s.Conflicts != 0 || s.Instances != 2 {
		t.Errorf("%+v, %v", s, err)
	}
	for ds, err := range x.Search(t.Context(), index.Query{Level: index.Study}) {
		if err != nil || ds.String(0x00100020) != in.Attributes.String(0x00100020) {
			t.Errorf("%v: the patient is %q", err, ds.String(0x00100020))
		}
	}
	sound(t, x)
}
