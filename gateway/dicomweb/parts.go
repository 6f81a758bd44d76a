package dicomweb

import (
	"crypto/rand"
	"iter"
)

// part is one part of a multipart answer.
type part struct {
	contentType string
	location    string // its own URL, or empty
	segments    iter.Seq[segment]
}

// one is a sequence of one segment.
func one(s segment) iter.Seq[segment] {
	return func(yield func(segment) bool) { yield(s) }
}

// multipartDocument makes a multipart/related document (RFC 2387) of parts,
// which yields the same each time. The boundary is random, of a fixed length:
// what is stored cannot have been made to contain it.
func multipartDocument(kind, etag string, parts iter.Seq[part]) document {
	boundary := "cigogne-" + rand.Text()
	if etag != "" {
		etag = "W/" + etag
	}
	head := make([]byte, 0, 512) // more than most take
	return document{
		contentType: multipartType + `; type="` + kind + `"; boundary=` + boundary,
		etag:        etag,
		segments: func(yield func(segment) bool) {
			head = head[:0]
			for p := range parts {
				if len(head) > 0 {
					head = append(head[:0], "\r\n"...)
				}
				head = append(append(append(head, "--"...), boundary...), "\r\nContent-Type: "...)
				head = append(append(head, p.contentType...), "\r\n"...)
				if p.location != "" {
					head = append(append(append(head, "Content-Location: "...), p.location...), "\r\n"...)
				}
				head = append(head, "\r\n"...)
				if !yield(segment{literal: head}) {
					return
				}
				for s := range p.segments {
					if !yield(s) {
						return
					}
				}
			}
			yield(segment{literal: []byte("\r\n--" + boundary + "--\r\n")})
		},
	}
}
