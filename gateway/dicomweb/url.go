package dicomweb

import (
	"net/http"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage"
)

// Media types of PS3.18 §8.7.3.
const (
	dicomType     = "application/dicom"
	jsonType      = "application/dicom+json"
	octetsType    = "application/octet-stream"
	zipType       = "application/zip"
	multipartType = "multipart/related"
)

// conflictsPath is the part of the root under which the instances stand that
// are kept aside.
const conflictsPath = "/conflicts"

// root is the URL under which the client reaches this service.
func (s *service) root(r *http.Request) string {
	if s.PublicURL != "" {
		return s.PublicURL
	}
	scheme := "http://"
	if r.TLS != nil {
		scheme = "https://"
	}
	return scheme + r.Host + s.Root
}

func studyURL(root, study string) string { return root + "/studies/" + study }

func seriesURL(root, study, series string) string {
	return studyURL(root, study) + "/series/" + series
}

func instanceURL(root string, k storage.InstanceKey) string {
	return root + "/studies/" + k.StudyInstanceUID + "/series/" + k.SeriesInstanceUID + "/instances/" + k.SOPInstanceUID // in one piece: it is made of each
}

// selector reads the path of a request; its error wraps storage.ErrInvalid.
func selector(r *http.Request, conflicts bool) (gateway.Selector, error) {
	sel := gateway.Selector{
		StudyInstanceUID:  r.PathValue("study"),
		SeriesInstanceUID: r.PathValue("series"),
		SOPInstanceUID:    r.PathValue("instance"),
		Conflicts:         conflicts,
	}
	for _, u := range []struct{ keyword, uid string }{
		{"StudyInstanceUID", sel.StudyInstanceUID},
		{"SeriesInstanceUID", sel.SeriesInstanceUID},
		{"SOPInstanceUID", sel.SOPInstanceUID},
	} {
		if u.uid != "" && !storage.ValidUID(u.uid) {
			return sel, errNotUID(u.keyword)
		}
	}
	return sel, nil
}
