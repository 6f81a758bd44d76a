package dicomweb

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/trace"
)

// Storer takes instances in. The errors of Receive wrap the sentinels of
// package storage, or are those of Incoming.Body.
type Storer interface {
	Receive(ctx context.Context, in gateway.Incoming) (gateway.Pending, error)
}

// Searcher answers queries.
type Searcher interface {
	// Search yields one DICOM JSON object per result, without RetrieveURL. A
	// yielded object is valid until the next one is asked for; an error is
	// the last thing yielded.
	Search(ctx context.Context, q index.Query) iter.Seq2[[]byte, error]
}

// ConflictLister lists what was kept aside.
type ConflictLister interface {
	// Conflicts yields one DICOM JSON object per instance that is kept aside,
	// under the rules of Searcher.Search.
	Conflicts(ctx context.Context) iter.Seq2[[]byte, error]
}

// Retriever locates instances.
type Retriever interface {
	// Instances returns what is selected, in the order in which it is to be
	// served, or an error that wraps storage.ErrNotFound when that is nothing.
	Instances(ctx context.Context, sel gateway.Selector) ([]gateway.Instance, error)
}

// Sent is told of instances of a series that were sent whole, when their
// answer is complete, and of answers that were cut.
type Sent interface {
	Sent(s gateway.Sending)
}

// Metrics is told of every answer, after its last byte.
type Metrics interface {
	// Sending tells of bytes of an answer's body when they were sent.
	Sending(n int64)
	// Answered names the pattern of the route, such as "GET /studies/{study}".
	Answered(route string, status int, sent int64, took time.Duration)
	// Refused counts an instance that came by a transport, such as "stow", and
	// was not stored, or a request in which none could be told apart.
	Refused(transport string, why gateway.Refusal)
}

// Options are the parts and the settings of the handler.
type Options struct {
	Store    Storer
	Search   Searcher
	Retrieve Retriever
	// Conflicts lists what was kept aside; when nil, that list is answered
	// with 501.
	Conflicts ConflictLister
	// Delete takes studies and series out of sight; when nil, DELETE is
	// answered with 405. Deletions is the path below which they can be looked
	// at and undone, if there is one.
	Delete    Deleter
	Deletions string
	// Root is the path under which the handler is mounted, through
	// http.StripPrefix: it is put in front of the paths in URLs that are made
	// here. Default "/dicom-web".
	Root string
	// PublicURL is the root as clients see it, for RetrieveURL and
	// BulkDataURI, such as "https://node1.example/dicom-web". Default: made
	// of the request's Host and Root.
	PublicURL string
	// CORSOrigins are the origins whose pages may use this service; "*" means
	// every one. Default: none.
	CORSOrigins []string
	Limits      Limits
	// Visible returns when what this node stored is found by queries at any. An
	// answer to STOW-RS waits for it, and warns when it fails: what is stored is
	// safe all the same. Default: at once.
	Visible func(ctx context.Context) error
	// RequestID names a request in the log, in error bodies and in
	// Origin.ID; nil means no name.
	RequestID func(*http.Request) string
	// Sent is told what was retrieved whole; it may be nil.
	Sent    Sent
	Logger  *slog.Logger // default: slog.Default()
	Metrics Metrics      // may be nil
}

// service is the handler and what its routes share.
type service struct {
	Options
	mux     *http.ServeMux
	buffers buffers
}

// New returns the handler. It sets the deadlines of each request itself, so
// http.Server needs ReadHeaderTimeout and IdleTimeout, and neither ReadTimeout
// nor WriteTimeout, which would end long transfers that make progress.
func New(o Options) http.Handler {
	if o.Root == "" {
		o.Root = "/dicom-web"
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.RequestID == nil {
		o.RequestID = func(*http.Request) string { return "" }
	}
	o.Root = strings.TrimRight(o.Root, "/")
	o.PublicURL = strings.TrimRight(o.PublicURL, "/")
	o.Limits = o.Limits.withDefaults()
	s := &service{Options: o, mux: http.NewServeMux(), buffers: newBuffers()}
	s.routes()
	return s
}

// route is what answers a request: an error before the first byte of the body
// becomes an error answer, a later one breaks the connection.
type route func(w *answer, r *http.Request) error

func (s *service) routes() {
	s.handle("POST /studies", s.store)
	s.handle("POST /studies/{study}", s.store)

	s.handle("GET /studies", s.search(index.Study))
	s.handle("GET /studies/{study}/series", s.search(index.Series))
	s.handle("GET /series", s.search(index.Series))
	s.handle("GET /studies/{study}/instances", s.search(index.Image))
	s.handle("GET /studies/{study}/series/{series}/instances", s.search(index.Image))
	s.handle("GET /instances", s.search(index.Image))

	if s.Delete != nil { // PS3.18 knows no DELETE of studies; instances lie in packs, which do not change
		s.handle("DELETE /studies/{study}", s.remove)
		s.handle("DELETE /studies/{study}/series/{series}", s.remove)
	}
	s.handle("GET /conflicts", s.conflicts)
	for _, kept := range []string{"", conflictsPath} {
		study := "GET " + kept + "/studies/{study}"
		series := study + "/series/{series}"
		instance := series + "/instances/{instance}"
		for _, resource := range []string{study, series, instance} {
			s.handle(resource, s.retrieve)
			s.handle(resource+"/metadata", s.metadata)
			s.handle(resource+"/digests", s.digests)
			s.handle(resource+"/rendered", notRendered)
			s.handle(resource+"/thumbnail", notRendered)
		}
		s.handle(instance+"/bulkdata/{path}", s.bulkdata)
		s.handle(instance+"/frames/{frames}", s.frames)
		s.handle(instance+"/frames/{frames}/rendered", notRendered)
		s.handle(instance+"/frames/{frames}/thumbnail", notRendered)
	}
	s.handle("/", s.elsewhere)
}

func (s *service) handle(pattern string, to route) { s.mux.Handle(pattern, s.serve(pattern, to)) }

// ServeHTTP implements http.Handler.
func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if s.crossOrigin(w, r) {
		return
	}
	if p := r.URL.EscapedPath(); path.Clean(p) != p || p[0] != '/' {
		// ServeMux would redirect to where only StripPrefix knows.
		s.serve("/", s.elsewhere).ServeHTTP(w, r)
		return
	}
	s.mux.ServeHTTP(w, r)
}

// serve runs one route with everything that all of them need.
func (s *service) serve(pattern string, to route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		a := newAnswer(w, s.Limits.WriteStall, s.buffers)
		if s.Metrics != nil {
			a.told = s.Metrics.Sending
		}
		err := to(a, r)
		if err != nil && a.status == 0 {
			s.refuse(a, r, err)
		}
		if err == nil {
			err = a.finish()
		}
		broken := err != nil && !a.refused
		s.report(r, a, pattern, err, time.Since(began))
		if broken {
			// The one way to tell the client that the body is not whole;
			// net/http recovers it and closes the connection.
			panic(http.ErrAbortHandler)
		}
	})
}

func (s *service) report(r *http.Request, a *answer, pattern string, err error, took time.Duration) {
	if s.Metrics != nil {
		s.Metrics.Answered(pattern, a.status, a.sent, took)
	}
	if span := trace.Of(r.Context()); span.On() {
		span.Name(pattern)
		span.Number("http.response.status_code", int64(a.status))
		span.Number("bytes", a.sent)
		if a.status >= http.StatusInternalServerError {
			span.Fail("")
		}
	}
	level := slog.LevelDebug
	if err != nil && a.status >= http.StatusInternalServerError && a.status != http.StatusNotImplemented {
		level = slog.LevelError
	}
	if !s.Logger.Enabled(r.Context(), level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("request", s.RequestID(r)), slog.String("method", r.Method), slog.String("route", pattern),
		slog.Int("status", a.status), slog.Int64("sent", a.sent), slog.Duration("took", took),
	}
	if err != nil {
		attrs = append(attrs, slog.Any("error", err))
	}
	s.Logger.LogAttrs(r.Context(), level, "dicomweb answered", attrs...)
}

// elsewhere answers what no route takes: 405 when another method would be
// right, 404 otherwise.
func (s *service) elsewhere(w *answer, r *http.Request) error {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
		try := r.Clone(r.Context())
		try.Method = method
		if _, pattern := s.mux.Handler(try); strings.HasPrefix(pattern, method+" ") {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) == 0 {
		return fmt.Errorf("%w: no such resource", storage.ErrNotFound)
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	return answerWith(http.StatusMethodNotAllowed, errors.New("this resource does not know the method"))
}

// notRendered answers the resources that need decoded pixels.
func notRendered(*answer, *http.Request) error {
	return fmt.Errorf("%w: nothing is rendered here; retrieve the frames or the instance", storage.ErrUnsupported)
}
