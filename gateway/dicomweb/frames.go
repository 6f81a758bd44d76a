package dicomweb

import (
	"context"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strconv"
	"strings"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
)

// frames is WADO-RS for frames (PS3.18 §10.4.1.1.6): only their bytes are read,
// and they are sent as they are stored.
func (s *service) frames(w *answer, r *http.Request) error {
	numbers, err := parseFrameList(r.PathValue("frames"), s.Limits.MaxFrames)
	if err != nil {
		return err
	}
	l, err := s.locate(r)
	if err != nil {
		return err
	}
	in, err := l.single()
	if err != nil {
		return err
	}
	p, err := newPixels(r.Context(), in)
	if err != nil {
		return err
	}
	for _, n := range numbers {
		if err := p.check(n); err != nil {
			return err
		}
	}
	offers := p.offers(len(numbers) == 1)
	choice, err := s.negotiate(r, offers, "frames are sent as they are stored, in transfer syntax "+p.syntax)
	if err != nil {
		return err
	}
	if offers[choice].kind == "" {
		etag := digestTag(p.about.Digest, ".frame-"+strconv.Itoa(numbers[0]))
		return s.send(w, r, document{contentType: withSyntax(offers[choice].name, p.syntax), etag: etag, ranges: true, segments: p.frame(numbers[0])})
	}
	etag := ""
	if len(numbers) == 1 {
		etag = digestTag(p.about.Digest, ".frame-"+strconv.Itoa(numbers[0]))
	}
	url := instanceURL(l.root, p.about.Key) + "/frames/"
	media := offers[choice].kind
	return s.send(w, r, multipartDocument(media, etag, func(yield func(part) bool) {
		for _, n := range numbers {
			if !yield(part{contentType: withSyntax(media, p.syntax), location: url + strconv.Itoa(n), segments: p.frame(n)}) {
				return
			}
		}
	}))
}

// parseFrameList reads a list of frame numbers such as "1,3,2". The error
// wraps storage.ErrInvalid, or ErrNotFound for a number that no instance can
// have.
func parseFrameList(list string, most int) ([]int, error) {
	if strings.Count(list, ",") >= most {
		return nil, fmt.Errorf("%w: more than %d frames at once", storage.ErrInvalid, most)
	}
	var numbers []int
	for field := range strings.SplitSeq(list, ",") {
		if field == "" || strings.Trim(field, "0123456789") != "" {
			return nil, fmt.Errorf("%w: a frame list is numbers parted by commas", storage.ErrInvalid)
		}
		n, err := strconv.ParseInt(field, 10, 32)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%w: no instance has so many frames", storage.ErrNotFound)
		case n == 0:
			return nil, fmt.Errorf("%w: frames are numbered from 1", storage.ErrInvalid)
		}
		numbers = append(numbers, int(n))
	}
	return numbers, nil
}

// pixels is the PixelData of an instance, frame by frame.
type pixels struct {
	in     gateway.Instance
	about  storage.Instance
	layout *dicom.Frames
	syntax string // of the frames
	media  string // of one frame
}

func newPixels(ctx context.Context, in gateway.Instance) (*pixels, error) {
	about := in.About()
	layout, err := in.Layout(ctx)
	if err != nil {
		return nil, err
	}
	if layout == nil || layout.Frames == nil {
		if ts := dicom.LookupTransferSyntax(about.TransferSyntaxUID); ts.Deflated {
			return nil, fmt.Errorf("%w: frames of an instance that is stored as %s cannot be sent; retrieve the instance",
				storage.ErrUnsupported, ts.Name)
		}
		return nil, fmt.Errorf("%w: the instance has no frames", storage.ErrNotFound)
	}
	p := &pixels{in: in, about: about, layout: layout.Frames, syntax: about.TransferSyntaxUID, media: octetsType}
	if p.layout.FrameBits == 0 {
		p.media = frameMediaType(p.syntax)
	} else if ts := dicom.LookupTransferSyntax(p.syntax); ts.Known && !ts.BigEndian && p.syntax != dicom.GEPrivate {
		p.syntax = dicom.ExplicitVRLittleEndian // in which native frames are the same bytes
	}
	return p, nil
}

// frameMediaType is the media type of an encapsulated frame (PS3.18 §8.7.3.3.2).
func frameMediaType(syntax string) string {
	compression, ok := strings.CutPrefix(syntax, "1.2.840.10008.1.2.4.")
	if !ok {
		if syntax == dicom.RLELossless {
			return "image/dicom-rle"
		}
		return octetsType
	}
	compression, _, _ = strings.Cut(compression, ".") // fragmentable variants end with ".1"
	switch compression {
	case "50", "51", "57", "70":
		return "image/jpeg"
	case "80", "81":
		return "image/jls"
	case "90", "91":
		return "image/jp2"
	case "92", "93":
		return "image/jpx"
	case "100", "101":
		return "video/mpeg"
	case "102", "103", "104", "105", "106", "107", "108":
		return "video/mp4"
	case "110", "111", "112":
		return "image/jxl"
	case "201", "202", "203":
		return "image/jphc"
	}
	return octetsType
}

// offers lists how frames can be had. application/octet-stream without a
// transfer syntax means uncompressed, so compressed ones need it, or '*'.
func (p *pixels) offers(single bool) []offer {
	asStored := func(asked string) bool { return anySyntax(asked) || asked == p.syntax }
	offers := []offer{{name: multipartType, kind: p.media, syntax: asStored}}
	if single {
		offers = append(offers, offer{name: p.media, syntax: asStored})
	}
	if p.media == octetsType {
		return offers
	}
	named := func(asked string) bool { return asked == "*" || asked == p.syntax }
	offers = append(offers, offer{name: multipartType, kind: octetsType, syntax: named})
	if single {
		offers = append(offers, offer{name: octetsType, syntax: named})
	}
	return offers
}

// check tells whether frame n (from 1) is there: with a layout that lies, it
// is not.
func (p *pixels) check(n int) error {
	if n < 1 || n > p.layout.Count {
		return fmt.Errorf("%w: frame %d of %d", storage.ErrNotFound, n, p.layout.Count)
	}
	if p.layout.FrameBits > 0 {
		bits := bitRange{first: int64(n-1) * p.layout.FrameBits, count: p.layout.FrameBits}
		if !p.layout.Native.Within(p.about.DataSet().Length) || !bits.bytes().Within(p.layout.Native.Length) {
			return fmt.Errorf("%w: frame %d lies beyond the end of PixelData", storage.ErrNotFound, n)
		}
		return nil
	}
	fragments, ok := p.fragments(n)
	if !ok {
		return fmt.Errorf("%w: frame %d lies beyond the end of PixelData", storage.ErrNotFound, n)
	}
	for _, f := range fragments {
		if !f.Within(p.about.DataSet().Length) {
			return fmt.Errorf("%w: frame %d lies beyond the end of PixelData", storage.ErrNotFound, n)
		}
	}
	return nil
}

// fragments are those of encapsulated frame n.
func (p *pixels) fragments(n int) ([]storage.Range, bool) {
	if n > len(p.layout.FirstFragment) {
		return nil, false
	}
	first, end := p.layout.FirstFragment[n-1], len(p.layout.Fragments)
	if n < len(p.layout.FirstFragment) {
		end = p.layout.FirstFragment[n]
	}
	if first < 0 || first > end || end > len(p.layout.Fragments) {
		return nil, false
	}
	return p.layout.Fragments[first:end], true
}

// frame is the bytes of frame n, which check has passed.
func (p *pixels) frame(n int) iter.Seq[segment] {
	if p.layout.FrameBits == 0 {
		fragments, _ := p.fragments(n)
		return func(yield func(segment) bool) {
			for _, f := range fragments {
				if !yield(stored(p.in, p.about.DataSet().Sub(f))) {
					return
				}
			}
		}
	}
	bits := bitRange{first: int64(n-1) * p.layout.FrameBits, count: p.layout.FrameBits}
	where := p.about.DataSet().Sub(p.layout.Native).Sub(bits.bytes())
	if bits.aligned() {
		return one(stored(p.in, where))
	}
	return one(segment{size: bits.length(), open: func(ctx context.Context, r storage.Range) (io.ReadCloser, error) {
		body, err := p.in.Open(ctx, where)
		if err != nil {
			return nil, err
		}
		return newBitReader(body, bits, r), nil
	}})
}
