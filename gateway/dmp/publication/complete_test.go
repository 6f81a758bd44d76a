package publication

import (
	"testing"

	"github.com/esante-alsace/cigogne/gateway/dmp/manifest"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

// TestNextVersion: what makes a version, and what of it has a manifest.
func TestNextVersion(t *testing.T) {
	const study = "1.2.3"
	some, other := storage.Digest{1}, storage.Digest{2}
	link := &index.IdentityChange{Authority: storage.Issuer{UniversalID: "9.9"}, Number: "279035121518989", Status: "VALI"}
	of := func(digest storage.Digest, latest int64, linked bool) *content {
		c := &content{digest: digest, latest: latest, structure: manifest.Structure{ID: "1670000025"}}
		c.study.StudyInstanceUID = study
		if digest != (storage.Digest{}) {
			c.instances = 1
		}
		if linked {
			c.link = link
		}
		return c
	}
	at := func(version int64, content storage.Digest, with bool) index.StudyLife {
		l := index.StudyLife{StudyInstanceUID: study, Open: true, LifeRecord: index.LifeRecord{Version: version, Content: content}}
		if with {
			l.Manifest = &index.Manifest{SOPInstanceUID: manifestUID(study, version), Version: version}
		}
		return l
	}
	withdrawn, owed := at(2, some, true), at(2, some, true)
	withdrawn.Publication.Withdrawn = withdrawn.Manifest.SOPInstanceUID
	owed.Owed = true
	bad := *link
	bad.Status = "PROV"
	unqualified := of(some, 0, true)
	unqualified.link = &bad
	doubted := of(some, 0, true)
	doubted.differ = []string{"sex"}
	long := of(some, 0, true)
	long.long = true
	mute := of(some, 0, true)
	mute.structure = manifest.Structure{}
	for _, c := range []struct {
		name     string
		life     index.StudyLife
		content  *content
		version  int64
		manifest bool
	}{
		{"first", at(0, storage.Digest{}, false), of(some, 0, true), 1, true},
		{"first, of somebody unlinked", at(0, storage.Digest{}, false), of(some, 0, false), 1, false},
		{"nothing ever", at(0, storage.Digest{}, false), of(storage.Digest{}, 0, false), 0, false},
		{"as it was", at(2, some, true), of(some, 2, true), 2, true},
		{"as it was, not stored yet", owed, of(some, 1, true), 2, true},
		{"as it was, without a manifest", at(2, some, false), of(some, 1, false), 2, false},
		{"other content", at(2, some, true), of(other, 2, true), 3, true},
		{"nothing is left", at(2, some, true), of(storage.Digest{}, 2, false), 3, false},
		{"still nothing", at(3, storage.Digest{}, false), of(storage.Digest{}, 2, false), 3, false},
		{"the manifest was withdrawn", withdrawn, of(some, 2, true), 3, true},
		{"the manifest was deleted", at(2, some, true), of(some, 0, true), 3, true},
		{"a structure speaks now", at(2, some, false), of(some, 0, true), 3, true},
		{"not qualified", at(0, storage.Digest{}, false), unqualified, 1, false},
		{"other traits", at(0, storage.Digest{}, false), doubted, 1, false},
		{"nobody speaks", at(0, storage.Digest{}, false), mute, 1, false},
		{"too many instances", at(0, storage.Digest{}, false), long, 1, false},
		{"too many by now", at(2, other, true), long, 3, false},
	} {
		d := index.Completion{StudyInstanceUID: study, Version: c.life.Version}
		m, err := (&Publisher{}).next(t.Context(), &c.life, c.content, &d)
		if err != nil || d.Version != c.version || (m != nil) != c.manifest || m != nil && (m.Version != c.version || m.SOPInstanceUID != manifestUID(study, c.version)) {
			t.Errorf("%s: version %d, %+v, %v", c.name, d.Version, m, err)
		}
	}
}
