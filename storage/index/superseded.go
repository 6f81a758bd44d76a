package index

import "github.com/esante-alsace/cigogne/storage"

// The manifests of a study's earlier versions stay, and are not shown: neither
// among its instances nor in its counts, unless one is asked for by its name.
const (
	// standingManifest is the SOPInstanceUID of the one that stands, once it is
	// stored; '' for none. It is looked up for studies that have any.
	standingManifest = `CASE s.manifests WHEN 0 THEN '' ELSE coalesce((SELECT v.manifest FROM life v WHERE v.study = s.uid AND v.owed = 0), '') END`
	// shownSeries are the series that hold something that is shown.
	shownSeries = `(e.manifests < e.instances OR ` + standingManifest + ` <> '')`
	// shownStudies are likewise the studies. Those that are not are named, since
	// they are few: a page far behind the first is found in the order of answers
	// alone, without reading the rows of those before it.
	shownStudies = `s.id NOT IN (SELECT o.id FROM study o WHERE o.manifests > 0 AND o.manifests = o.instances
		AND NOT EXISTS (SELECT 1 FROM life v WHERE v.study = o.uid AND v.owed = 0 AND v.manifest <> ''))`
	// bareStudies finds those that may be such. The first files of this version
	// did not have it.
	bareStudies = `CREATE INDEX IF NOT EXISTS study_bare ON study (id) WHERE manifests > 0 AND manifests = instances`
)

// superseded is how many of the manifests stand no more.
func superseded(manifests int64, stands string) int64 {
	if manifests > 0 && stands != "" {
		return manifests - 1
	}
	return manifests
}

// hides tells whether an instance is a manifest that stands no more.
func (s *ImageSeries) hides(in storage.Instance) bool {
	return s.manifests && in.Origin.Transport == storage.TransportManifest && in.Key.SOPInstanceUID != s.Stands
}

// named tells whether manifests that stand no more are listed all the same.
func (m *Matcher) named() bool { return m.query.Superseded || m.sops() != nil }
