package dicomweb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"strings"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/trace"
)

// store is STOW-RS (PS3.18 §10.5): every part of the body is one instance.
// Success of a part means that it is durable.
func (s *service) store(w *answer, r *http.Request) error {
	results, broken, err := s.take(w, r)
	s.tellRefused(results, errors.Join(broken, err))
	if err != nil {
		return err
	}
	return s.answerStore(w, r, results, broken)
}

// take stores what the body of a request holds. broken tells that it broke
// off; an error, that nothing was taken.
func (s *service) take(w *answer, r *http.Request) (results []*result, broken, err error) {
	study := r.PathValue("study")
	if study != "" && !storage.ValidUID(study) {
		return nil, nil, errNotUID("StudyInstanceUID")
	}
	// All of this stands before the first read of the body, so that a client
	// which expects 100-continue never sends what would be refused.
	content, err := s.storable(w, r)
	if err != nil {
		return nil, nil, err
	}
	if _, err := s.negotiate(r, []offer{{name: jsonType}, {name: "application/json"}}, ""); err != nil {
		return nil, nil, err
	}
	up := &upload{service: s, study: study, credential: bearer(r), origin: storage.Origin{
		Transport: "stow", RemoteAddr: r.RemoteAddr, ID: s.RequestID(r),
	}}
	body := s.newBody(w, r)
	if content.name == dicomType {
		broken = up.single(r.Context(), body)
	} else {
		broken = up.multipart(r.Context(), body, content.boundary)
	}
	if errors.Is(broken, errNoPart) {
		return nil, nil, broken
	}
	if s.Visible != nil {
		if err := s.Visible(r.Context()); err != nil {
			w.Header().Add("Warning", NotFoundYet)
		}
	}
	return up.results, broken, nil
}

// NotFoundYet is the Warning of an answer to STOW-RS that tells of instances
// which are safe, and which queries do not find everywhere yet.
const NotFoundYet = `299 cigogne "Queries do not find all that is stored yet"`

// tellRefused counts what was not stored: each instance that was told apart,
// and otherwise the request.
func (s *service) tellRefused(results []*result, whole error) {
	if s.Metrics == nil {
		return
	}
	failed := 0
	for _, res := range results {
		if res.err != nil {
			failed++
			s.Metrics.Refused("stow", gateway.RefusalOf(res.err))
		}
	}
	if whole != nil && failed == 0 {
		s.Metrics.Refused("stow", gateway.RefusalOf(whole))
	}
}

// storable checks what the header of the request says of its body.
func (s *service) storable(w *answer, r *http.Request) (mediaType, error) {
	if coding := r.Header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		w.Header().Set("Accept-Encoding", "identity")
		return mediaType{}, unsupportedType("a body with a Content-Encoding is not inflated here")
	}
	content, _ := parseMediaType(r.Header.Get("Content-Type"))
	switch {
	case r.ContentLength > s.Limits.MaxStore:
		w.Header().Set("Connection", "close")
		return content, fmt.Errorf("%w: the request body is longer than this node takes", storage.ErrTooLarge)
	case content.name == dicomType:
		return content, nil
	case content.name != multipartType:
		return content, unsupportedType(`the body must be multipart/related; type="application/dicom", or application/dicom`)
	case strings.Contains(content.kind, "json"), strings.Contains(content.kind, "xml"):
		return content, unsupportedType("metadata with separate bulk data is not taken; send whole instances as application/dicom")
	case content.kind != "" && content.kind != dicomType:
		return content, unsupportedType("the parts must be of type application/dicom")
	case !validBoundary(content.boundary):
		return content, fmt.Errorf("%w: the boundary must be 1 to %d visible characters", storage.ErrInvalid, maxBoundary)
	}
	return content, nil
}

func unsupportedType(why string) error {
	return answerWith(http.StatusUnsupportedMediaType, fmt.Errorf("%w: %s", storage.ErrUnsupported, why))
}

func errNotUID(keyword string) error {
	return fmt.Errorf("%w: %s is not a UID", storage.ErrInvalid, keyword)
}

// errNoPart: there was nothing to store in the request.
var errNoPart = fmt.Errorf("%w: the body holds no instance", storage.ErrInvalid)

// upload is one STOW-RS request under way.
type upload struct {
	*service
	study  string
	origin storage.Origin
	// credential is the token that the client showed, or "".
	credential string
	results    []*result // in the order of the parts
}

// receiptsHeader asks for receipts: see appendReceipt.
const receiptsHeader = "Cigogne-Receipts"

// result tells what became of one part.
type result struct {
	receipt gateway.Receipt // of a failure, the names as far as they are known
	err     error
}

// maxEpilogue is how much is read of what follows the close delimiter.
const maxEpilogue = 64 << 10

// waiting is an instance that is not durable yet; who waits for it owns the
// result until then.
type waiting struct {
	*result
	pending gateway.Pending
	ctx     context.Context //nolint:containedctx // in which it is followed
	span    trace.Span
}

// followedMost is how many parts of a request are in its trace.
const followedMost = 500

// followed begins the span of the part that is read next.
func (u *upload) followed(ctx context.Context) (context.Context, trace.Span) {
	if len(u.results) > followedMost {
		return trace.Unfollowed(ctx), trace.Span{}
	}
	return trace.Start(ctx, "part")
}

// single stores a body that is one instance. The error tells that the body
// broke off.
func (u *upload) single(ctx context.Context, body io.Reader) error {
	part := &instanceBody{src: body, left: u.Limits.MaxInstance}
	ctx, span := u.followed(ctx)
	pending, err := u.receive(ctx, part)
	if err != nil && part.read == 0 && errors.Is(part.err, io.EOF) {
		return errNoPart
	}
	res := &result{err: err}
	u.results = []*result{res}
	if err == nil {
		u.settle(ctx, &waiting{res, pending, ctx, span})
		return nil
	}
	span.Done(err)
	return part.broken()
}

// multipart stores the parts one after the other. While one is read, those
// before it may still wait to be durable, so that they share an fsync. The
// error tells that the body broke off or is malformed; what was stored before
// that stays stored.
func (u *upload) multipart(ctx context.Context, body io.Reader, boundary string) error {
	buf := u.buffers.get()
	defer u.buffers.put(buf)
	parts, err := newMultipartReader(body, buf[:], boundary, u.Limits.MaxPartHeader)
	if err != nil {
		return err
	}
	window := &window{upload: u}
	err = u.receiveAll(ctx, parts, window)
	if err == nil {
		// To the end of the request, so that its deadline is taken away and
		// the connection can be kept. What comes there is of no account.
		_, _ = io.CopyN(io.Discard, body, maxEpilogue)
	}
	window.settle()
	if err == nil && len(u.results) == 0 {
		return errNoPart
	}
	return err
}

// receiveAll receives part after part and hands those that are not durable yet
// to the window.
func (u *upload) receiveAll(ctx context.Context, parts *multipartReader, window *window) error {
	for {
		header, err := parts.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		window.another()
		if len(u.results) == u.Limits.MaxParts {
			return fmt.Errorf("%w: more than %d parts", storage.ErrTooLarge, u.Limits.MaxParts)
		}
		res := &result{}
		u.results = append(u.results, res)
		if res.err = checkPart(header); res.err != nil {
			continue
		}
		announced := metaInformation(parts.Peek(metaPeek))
		ctx, span := u.followed(ctx)
		pending, err := u.receive(ctx, &instanceBody{src: parts, left: u.Limits.MaxInstance})
		if err != nil {
			span.Done(err)
			res.receipt, res.err = announced, err
			if broken := parts.Err(); broken != nil {
				return broken
			}
			continue
		}
		window.last = &waiting{res, pending, ctx, span}
	}
}

// window is the parts of a request that are not durable yet, which are waited
// for in turn: the only one of a request, which may be small, by the request's
// own goroutine; several by one beside the reading.
type window struct {
	upload  *upload
	last    *waiting
	several chan *waiting // nil while there is no other than last
	settled chan struct{} // closed when these are durable
}

// another tells that another part comes. It waits while there are too many
// that are not durable.
func (w *window) another() {
	if w.last == nil {
		return
	}
	if w.several == nil {
		w.several, w.settled = make(chan *waiting, w.upload.Limits.PendingWindow), make(chan struct{})
		go func() {
			defer close(w.settled)
			for one := range w.several {
				w.upload.settle(one.ctx, one)
			}
		}()
	}
	w.several <- w.last
	w.last = nil
}

// settle waits for all; no other comes.
func (w *window) settle() {
	if w.several != nil {
		w.another()
		close(w.several)
		<-w.settled
	}
	if w.last != nil {
		w.upload.settle(w.last.ctx, w.last)
	}
}

func (u *upload) receive(ctx context.Context, body *instanceBody) (gateway.Pending, error) {
	pending, err := u.Store.Receive(ctx, gateway.Incoming{
		Body: body, Form: gateway.Part10, StudyInstanceUID: u.study, Origin: u.origin, Credential: u.credential,
	})
	if err != nil && body.err != nil && !errors.Is(body.err, io.EOF) {
		err = body.err // the cause, however the gateway put it
	}
	return pending, err
}

// bearer is the token of the Authorization header (RFC 6750 §2.1), or "".
func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// settle waits until one instance is durable. It goes on when the client has
// gone, or has only closed its own direction, within a time.
func (u *upload) settle(ctx context.Context, w *waiting) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), u.Limits.DurableTimeout)
	defer cancel()
	w.receipt, w.err = w.pending.Wait(ctx)
	w.span.Done(w.err)
	if w.err != nil {
		w.receipt = w.pending.Received()
	}
}

// checkPart looks at the header of a part. A part without Content-Type is
// taken for what the whole body was said to hold.
func checkPart(header textproto.MIMEHeader) error {
	content, ok := parseMediaType(header.Get("Content-Type"))
	if (ok || header.Get("Content-Type") != "") && content.name != dicomType {
		return fmt.Errorf("%w: a part that is not application/dicom", storage.ErrInvalid)
	}
	switch strings.ToLower(header.Get("Content-Transfer-Encoding")) {
	case "", "binary", "8bit", "7bit":
		return nil
	}
	return fmt.Errorf("%w: a part with a Content-Transfer-Encoding", storage.ErrInvalid)
}

// instanceBody is the bytes of one instance, up to a length. It remembers the
// error that ended it, to tell a sender that failed from a gateway that did.
type instanceBody struct {
	src        io.Reader
	left, read int64
	err        error
}

// Read implements io.Reader.
func (b *instanceBody) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.src.Read(p)
	b.read += int64(n)
	if b.left -= int64(n); b.left < 0 {
		err = fmt.Errorf("%w: an instance longer than this node takes", errInstanceTooLarge)
		n = 0
	}
	b.err = err
	return n, err
}

// errInstanceTooLarge is the only error of instanceBody that the sender's
// stream survives.
var errInstanceTooLarge = fmt.Errorf("instance %w", storage.ErrTooLarge)

// broken is the error that ended the stream that the instance came by.
func (b *instanceBody) broken() error {
	if b.err == nil || errors.Is(b.err, io.EOF) || errors.Is(b.err, errInstanceTooLarge) {
		return nil
	}
	return b.err
}
