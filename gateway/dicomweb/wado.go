package dicomweb

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage"
)

// located is what a WADO-RS request is about.
type located struct {
	gateway.Selector
	instances []gateway.Instance
	root      string // of this service or of what is kept aside
}

// locate reads the path of a request and finds what it names.
func (s *service) locate(r *http.Request) (located, error) {
	l := located{root: s.root(r)}
	conflicts := strings.HasPrefix(r.Pattern, "GET "+conflictsPath+"/")
	if conflicts {
		l.root += conflictsPath
	}
	var err error
	if l.Selector, err = selector(r, conflicts); err != nil {
		return l, err
	}
	l.instances, err = s.Retrieve.Instances(r.Context(), l.Selector)
	if err == nil && len(l.instances) == 0 {
		err = fmt.Errorf("%w: nothing is stored under this name", storage.ErrNotFound)
	}
	return l, err
}

// single is the instance that the request names. Of what is kept aside there
// may be several.
func (l located) single() (gateway.Instance, error) {
	if len(l.instances) != 1 {
		return nil, fmt.Errorf("%w: %d Data Sets have this SOPInstanceUID; retrieve the instance as multipart/related",
			storage.ErrConflict, len(l.instances))
	}
	return l.instances[0], nil
}

// retrieve is WADO-RS for a study, a series or an instance (PS3.18 §10.4), in
// the transfer syntax in which each instance is stored.
func (s *service) retrieve(w *answer, r *http.Request) error {
	began := time.Now()
	l, err := s.locate(r)
	if err != nil {
		return err
	}
	offers := []offer{{name: multipartType, kind: dicomType, syntax: l.hasSyntax}}
	if l.SOPInstanceUID == "" {
		offers = append(offers, offer{name: zipType})
	} else if len(l.instances) == 1 {
		offers = append(offers, offer{name: dicomType, syntax: l.hasSyntax})
	}
	choice, err := s.negotiate(r, offers, "instances are sent in the transfer syntax in which they are stored")
	if err != nil {
		return err
	}
	if err = s.sendAs(w, r, l, offers[choice].name); err == nil {
		err = w.flush() // before it is told of: the reader waits for its end
	}
	if s.Sent == nil || r.Method != http.MethodGet {
		return err
	}
	if err != nil {
		s.noteCut(w, r, l, began)
		return err
	}
	s.noteSent(w, r, l, began)
	return nil
}

// receiver is who is sent what was located.
func receiver(r *http.Request) storage.Origin {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	return storage.Origin{Transport: "wado", RemoteAddr: host}
}

// noteCut tells that an answer broke off, of all that was asked for or of a
// range of it.
func (s *service) noteCut(w *answer, r *http.Request, l located, began time.Time) {
	if w.sent > 0 && (w.status == http.StatusOK || w.status == http.StatusPartialContent) {
		s.Sent.Sent(gateway.Sending{
			To: receiver(r), Study: l.StudyInstanceUID, Series: l.SeriesInstanceUID, Bytes: w.sent, Began: began, Cut: true,
		})
	}
}

// noteSent tells what was sent whole: nothing of a part, or of headers alone.
func (s *service) noteSent(w *answer, r *http.Request, l located, began time.Time) {
	if w.status != http.StatusOK {
		return
	}
	type sum struct {
		instances int
		bytes     int64
	}
	series := map[string]sum{}
	for _, in := range l.instances {
		about := in.About()
		one := series[about.Key.SeriesInstanceUID]
		series[about.Key.SeriesInstanceUID] = sum{one.instances + 1, one.bytes + about.Size}
	}
	for uid, one := range series {
		s.Sent.Sent(gateway.Sending{
			To: receiver(r), Study: l.StudyInstanceUID, Series: uid, Instances: one.instances, Bytes: one.bytes, Began: began,
		})
	}
}

// sendAs sends what was located as one of the media types.
func (s *service) sendAs(w *answer, r *http.Request, l located, mediaType string) error {
	switch mediaType {
	case dicomType:
		in := l.instances[0]
		about := in.About()
		return s.send(w, r, document{
			contentType: withSyntax(dicomType, about.TransferSyntaxUID), etag: fileTag(about), ranges: true,
			segments: one(stored(in, storage.Range{Length: about.Size})),
		})
	case zipType:
		l = l.byZip()
		l.instances = gateway.InOrder(r.Context(), l.instances)
		return s.send(w, r, zipDocument(l))
	}
	l.instances = gateway.InOrder(r.Context(), l.instances)
	return s.send(w, r, multipartDocument(dicomType, l.etag(), func(yield func(part) bool) {
		var uid, contentType string // mostly the same for all
		for _, in := range l.instances {
			about := in.About()
			if contentType == "" || about.TransferSyntaxUID != uid {
				uid, contentType = about.TransferSyntaxUID, withSyntax(dicomType, about.TransferSyntaxUID)
			}
			p := part{
				contentType: contentType,
				location:    instanceURL(l.root, about.Key),
				segments:    one(stored(in, storage.Range{Length: about.Size})),
			}
			if !yield(p) {
				return
			}
		}
	}))
}

// hasSyntax tells whether at least one instance is stored as asked: those that
// are not are sent as well, each part says what it is.
func (l located) hasSyntax(asked string) bool {
	if anySyntax(asked) {
		return true
	}
	return slices.ContainsFunc(l.instances, func(in gateway.Instance) bool {
		return in.About().TransferSyntaxUID == asked
	})
}

func anySyntax(asked string) bool { return asked == "" || asked == "*" }

// etag names what was located by the tags of all its instances, in the order in
// which they are served.
func (l located) etag() string {
	if len(l.instances) == 1 {
		return fileTag(l.instances[0].About())
	}
	sum := sha256.New()
	var tag []byte
	for _, in := range l.instances {
		tag = appendFileTag(tag[:0], in.About())
		sum.Write(tag)
	}
	return `"` + hex.EncodeToString(sum.Sum(nil)) + `"`
}

// fileTag is the strong entity tag of an instance as it is stored. The Digest
// leaves out the preamble and the File Meta Information, in which the same Data
// Set may come again after it was deleted.
func fileTag(about storage.Instance) string { return string(appendFileTag(make([]byte, 0, 96), about)) }

func appendFileTag(b []byte, about storage.Instance) []byte {
	b = hex.AppendEncode(append(b, '"'), about.Digest[:])
	b = strconv.AppendInt(append(b, '-'), about.Size, 16)
	b = hex.AppendEncode(append(b, '-'), binary.BigEndian.AppendUint32(nil, about.CRC32))
	return append(b, '"')
}

// digestTag is the strong entity tag of something inside an instance.
func digestTag(d storage.Digest, inside string) string { return `"` + d.String() + inside + `"` }

// withSyntax adds the transfer-syntax parameter. What a sender wrote as its
// transfer syntax reaches a header only when it is a UID.
func withSyntax(mediaType, uid string) string {
	if !storage.ValidUID(uid) {
		return mediaType
	}
	return mediaType + "; transfer-syntax=" + uid
}

// metadata is the DICOM JSON of a study, a series or an instance without its
// bulk data (PS3.18 §10.4.1.1.2). It has no ETag, as corrections may change
// it while the digests stay.
func (s *service) metadata(w *answer, r *http.Request) error {
	content, err := s.jsonContent(r)
	if err != nil {
		return err
	}
	l, err := s.locate(r)
	if err != nil {
		return err
	}
	out := s.newJSONArray(w, r, content)
	defer out.release()
	for _, in := range l.instances {
		out.next()
		if err := in.WriteMetadata(r.Context(), out, instanceURL(l.root, in.About().Key)); err != nil {
			return err
		}
	}
	return out.close()
}
