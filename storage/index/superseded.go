package index

import "github.com/esante-alsace/cigogne/storage"

// The manifests of a study's earlier versions stay, and are not shown: neither
// among its instances nor in its counts, unless one is asked for by its name.
const (
	// standingManifest is the SOPInstanceUID of the one that stands, once it is
	// stored; '' for none. It is looked up for studies that have any.
	standingManifest = `CASE s.manifests WHEN 0 THEN '' ELSE coalesce((SELECT v.manifest FROM life v WHERE v.study = s.uid AND v.owed = 0), '') END`
	// shownStudies and shownSeries are those that hold something that is shown.
	shownStudies = `(s.manifests < s.instances OR ` + standingManifest + ` <> '')`
	shownSeries  = `(e.manifests < e.instances OR ` + standingManifest + ` <> '')`
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
