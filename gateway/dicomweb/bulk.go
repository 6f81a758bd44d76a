package dicomweb

import (
	"fmt"
	"net/http"
	"slices"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
)

// bulkdata is WADO-RS for one value that the metadata left out (PS3.18
// §10.4.1.1.5), byte by byte as it is stored.
func (s *service) bulkdata(w *answer, r *http.Request) error {
	l, err := s.locate(r)
	if err != nil {
		return err
	}
	in, err := l.single()
	if err != nil {
		return err
	}
	about := in.About()
	layout, err := in.Layout(r.Context())
	if err != nil {
		return err
	}
	path := r.PathValue("path")
	i := slices.IndexFunc(layout.Bulk, func(b dicom.Bulk) bool { return b.Path == path })
	if i < 0 {
		if ts := dicom.LookupTransferSyntax(about.TransferSyntaxUID); ts.Deflated {
			return fmt.Errorf("%w: values of an instance that is stored as %s cannot be sent alone; retrieve the instance",
				storage.ErrUnsupported, ts.Name)
		}
		return fmt.Errorf("%w: the instance has no such bulk data", storage.ErrNotFound)
	}
	value := layout.Bulk[i].Range
	if !value.Within(about.DataSet().Length) {
		return fmt.Errorf("%w: bulk data beyond the end of the Data Set", storage.ErrCorrupt)
	}
	offers := []offer{{name: octetsType}, {name: multipartType, kind: octetsType}}
	choice, err := s.negotiate(r, offers, "")
	if err != nil {
		return err
	}
	etag := digestTag(about.Digest, "."+layout.Bulk[i].Path)
	content := withSyntax(octetsType, about.TransferSyntaxUID)
	segments := one(stored(in, about.DataSet().Sub(value)))
	if choice == 0 {
		return s.send(w, r, document{contentType: content, etag: etag, ranges: true, segments: segments})
	}
	location := instanceURL(l.root, about.Key) + "/bulkdata/" + path
	return s.send(w, r, multipartDocument(octetsType, etag, func(yield func(part) bool) {
		yield(part{contentType: content, location: location, segments: segments})
	}))
}
