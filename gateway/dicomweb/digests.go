package dicomweb

import (
	"bufio"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage"
)

// Digests is what the resource /digests of a study or a series says: of each
// instance the digest, and where it lies in the ZIP file of the same study or
// series. With it a client fetches ranges of that file in parallel, checks
// what it got, and knows what it need not send. It is no part of DICOMweb.
type Digests struct {
	// ETag is the ZIP file's.
	ETag string `json:"etag"`
	// Size is the length in bytes of the ZIP file.
	Size int64 `json:"size"`
	// Instances are in the order in which they lie there.
	Instances []DigestOf `json:"instances"`
}

// DigestOf is one instance in Digests.
type DigestOf struct {
	SeriesInstanceUID string `json:"series"`
	SOPInstanceUID    string `json:"instance"`
	// Size is the length in bytes of its PS3.10 file, of which Prefix precede
	// the Data Set, and Offset is where that file begins in the ZIP file.
	Size   int64 `json:"size"`
	Prefix int64 `json:"prefix"`
	Offset int64 `json:"offset"`
	// CRC32 (IEEE) is of the file, Digest of the Data Set.
	CRC32  uint32         `json:"crc32"`
	Digest storage.Digest `json:"blake3"`
}

// byZip puts the instances of each series together. Otherwise their order
// would change when one series is packed before another, and no download
// could be continued.
func (l located) byZip() located {
	l.instances = slices.Clone(l.instances)
	slices.SortStableFunc(l.instances, func(a, b gateway.Instance) int {
		return strings.Compare(a.About().Key.SeriesInstanceUID, b.About().Key.SeriesInstanceUID)
	})
	return l
}

// digests writes Digests, instance by instance.
func (s *service) digests(w *answer, r *http.Request) error {
	if _, err := s.negotiate(r, []offer{{name: "application/json"}}, ""); err != nil {
		return err
	}
	l, err := s.locate(r)
	if err != nil {
		return err
	}
	l = l.byZip()
	zip := zipDocument(l)
	header := w.Header()
	header.Set("Cache-Control", "private, no-cache")
	header.Set("Content-Type", "application/json")
	out := bufio.NewWriterSize(w, bufferSize)
	b := strconv.AppendQuote([]byte(`{"etag":`), zip.etag)
	b = strconv.AppendInt(append(b, `,"size":`...), zip.size(), 10)
	b = append(b, `,"instances":[`...)
	var at zipDirectory
	for i, in := range l.instances {
		if i > 0 {
			b = append(b, ",\n"...)
		}
		about := in.About()
		e := newZipEntry(about, l.Conflicts)
		one, err := json.Marshal(DigestOf{
			SeriesInstanceUID: about.Key.SeriesInstanceUID, SOPInstanceUID: about.Key.SOPInstanceUID,
			Size: about.Size, Prefix: about.Prefix, Offset: at.offset + e.localLength(),
			CRC32: about.CRC32, Digest: about.Digest,
		})
		if err != nil {
			return err
		}
		at.add(e, 0)
		if _, err := out.Write(append(b, one...)); err != nil {
			return err
		}
		b = b[:0]
	}
	if _, err := out.WriteString("]}\n"); err != nil {
		return err
	}
	return out.Flush()
}
