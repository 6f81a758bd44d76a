package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"path"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/klauspost/compress/gzhttp"

	"github.com/esante-alsace/cigogne/cmd/cigogne/listener"
	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/gateway/access"
	"github.com/esante-alsace/cigogne/gateway/answer"
	"github.com/esante-alsace/cigogne/gateway/custody"
	"github.com/esante-alsace/cigogne/gateway/dmp"
	"github.com/esante-alsace/cigogne/gateway/ops"
	"github.com/esante-alsace/cigogne/gateway/rpc"
	"github.com/esante-alsace/cigogne/gateway/web"
)

const (
	// maxHeaderBytes bounds a request's header.
	maxHeaderBytes = 64 << 10
	// headerTimeout bounds how long a request's header may take to come.
	headerTimeout = 10 * time.Second
)

type requestIDKey struct{}

// requestID is the id of the request, as it stands in the log.
func requestID(r *http.Request) string {
	id, _ := r.Context().Value(requestIDKey{}).(string)
	return id
}

// answers writes what the paths for operators answer.
func (n *node) answers(about string) answer.Writer {
	return answer.Writer{About: about, RequestID: requestID, Log: n.log}
}

// handler is everything that HTTP answers, with the gatekeeper in front, and
// bounds in front of it.
func (n *node) handler(dicomweb http.Handler) http.Handler {
	mux := http.NewServeMux()
	guarded := func(k kind, h http.Handler) http.Handler {
		return n.gates[k].Handler(access.Guard(n.keeper, operation, h))
	}
	handle := func(k kind, pattern string, h http.Handler) {
		h = guarded(k, h)
		if k != images { // whose pages those are is said by --cors-origin
			h = ownPages(h)
		}
		mux.Handle(pattern, h)
	}
	dicomweb = http.StripPrefix("/dicom-web", n.consistent(n.takeNothingNew(compressJSON(n.boundUploads(dicomweb)))))
	dicomweb = guarded(images, dicomweb)
	mux.Handle("/dicom-web", dicomweb)
	mux.Handle("/dicom-web/", dicomweb)
	handle(images, manifestRoot+"/", n.byManifest())
	handle(alive, "GET /healthz", n.timed(http.HandlerFunc(healthz)))
	handle(probes, "GET /readyz", n.timed(http.HandlerFunc(n.readyz)))
	handle(probes, "GET /metrics", n.timed(n.metrics.Handler()))
	handle(desk, custodyRoot+"/", n.timed(n.custody()))
	handle(desk, identitiesRoot+"/", n.timed(http.StripPrefix(identitiesRoot, dmp.New(n.patients, n.answers("identities")))))
	handle(desk, ops.Root, n.timed(n.ops))
	handle(desk, ops.Root+"/", n.timed(n.ops))
	handle(pages, "/", n.timed(web.Handler()))
	native := n.native()
	for path, h := range native {
		handle(manifests, path, h)
	}
	api := ownPages(compressAPI(n.rpc))
	return n.paced(identify(textual(n.follow(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if rpc.Handles(r) && native[r.URL.Path] == nil { // it asks the gatekeeper itself, when it has read the request
			api.ServeHTTP(w, r)
			return
		}
		if p := r.URL.Path; strings.HasPrefix(p, "/dicom-web/") && path.Clean(p) == p { // it has a mux of its own
			dicomweb.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})))))
}

// ownPages refuses what a browser sends for a page of another origin and would
// change something: an operator's browser reaches nodes that the page's author
// does not.
func ownPages(next http.Handler) http.Handler { return http.NewCrossOriginProtection().Handler(next) }

// textual refuses paths and queries that are no text in UTF-8: reasons and
// names out of them are told to others.
func textual(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text := utf8.ValidString(r.URL.Path)
		if text && r.URL.RawQuery == "" {
			next.ServeHTTP(w, r)
			return
		}
		for name, values := range r.URL.Query() {
			text = text && utf8.ValidString(name)
			for _, v := range values {
				text = text && utf8.ValidString(v)
			}
		}
		if !text {
			http.Error(w, "the URL is not text in UTF-8", http.StatusBadRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func healthz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Write([]byte("ok\n")) //nolint:errcheck // the client has gone
}

// compressAPI compresses what REST answers for clients that ask for it. gRPC
// does that itself, and a stream is flushed message by message.
func compressAPI(next http.Handler) http.Handler {
	compressed := gzhttp.GzipHandler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 2 || strings.HasSuffix(r.URL.Path, ":watch") || strings.HasPrefix(r.URL.Path, "/v1/archives:") {
			next.ServeHTTP(w, r)
			return
		}
		compressed.ServeHTTP(w, r)
	})
}

// compressJSON compresses what is text for clients that ask for it: metadata
// takes a tenth of its time over a slow line. Instances, frames and ZIP files
// pass as they are, so that the kernel can send them.
func compressJSON(next http.Handler) http.Handler {
	compressed := gzhttp.GzipHandler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		resource := strings.Trim(r.URL.Path, "/")
		if r.Method == http.MethodGet && (searches(resource) || strings.HasSuffix(resource, "/metadata") || strings.HasSuffix(resource, "/digests")) {
			compressed.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// takeNothingNew answers what would store with 503 while the node drains.
func (n *node) takeNothingNew(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && n.draining() {
			n.metrics.Refused("stow", gateway.RefusedUnavailable)
			w.Header().Set("Retry-After", "1")
			w.Header().Set("Connection", "close")
			http.Error(w, "the node drains, ask another", http.StatusServiceUnavailable)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// identify gives each request an id of its own and tells it the client.
func identify(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := rand.Text()[:12]
		w.Header().Set("X-Request-Id", id)
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), requestIDKey{}, id)))
	})
}

// operation is what a request wants to do.
func operation(r *http.Request) access.Operation {
	if path, ok := strings.CutPrefix(r.URL.EscapedPath(), custodyRoot); ok && strings.HasPrefix(path, "/") {
		return custody.Operation(r, path)
	}
	if strings.HasPrefix(r.URL.Path, identitiesRoot+"/") {
		return dmp.Operation(r)
	}
	if op, ok := ofPublication(r); ok {
		return op
	}
	if r.URL.Path == ops.Root || strings.HasPrefix(r.URL.Path, ops.Root+"/") {
		return ops.Operation(r)
	}
	resource, ok := strings.CutPrefix(r.URL.Path, "/dicom-web/")
	switch {
	case !ok:
		return access.Observe
	case r.Method == http.MethodPost:
		return access.Store
	case r.Method == http.MethodDelete && deletable(resource):
		return access.Delete
	case searches(strings.Trim(resource, "/")):
		return access.Search
	default:
		return access.Retrieve
	}
}

// deletable tells whether the resource is a study or a series; no other can be
// deleted, whoever asks.
func deletable(resource string) bool {
	level := strings.Split(strings.Trim(resource, "/"), "/")
	return level[0] == "studies" && (len(level) == 2 || len(level) == 4 && level[2] == "series")
}

// searches tells whether the resource is a collection: studies, series,
// instances, or one of them below a study or a series.
func searches(resource string) bool {
	switch resource[strings.LastIndexByte(resource, '/')+1:] {
	case "studies", "conflicts":
		return true
	case "series", "instances":
		return strings.Count(resource, "/")%2 == 0
	default:
		return false
	}
}

// check is one line of /readyz.
type check struct {
	Name  string `json:"name"`
	Ready bool   `json:"ready"`
	Why   string `json:"why,omitempty"`
}

// readyTimeout bounds what a readiness check may wait for.
const readyTimeout = 3 * time.Second

// ready checks that the node can take and give instances now.
func (n *node) ready(ctx context.Context) []rpc.Check {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	checks := []rpc.Check{{Name: "journal"}, {Name: "index"}, {Name: "archive"}}
	errs := []error{n.journal.Check(ctx), n.indexReady(ctx), n.archives.Check(ctx)}
	if n.cluster != nil {
		checks = append(checks, rpc.Check{Name: "cluster"}, rpc.Check{Name: "copies"})
		errs = append(errs, n.clusterReady(ctx), n.copying.keeper.Failing())
	}
	for i, err := range errs {
		checks[i].Err = err
	}
	return checks
}

func (n *node) indexReady(ctx context.Context) error {
	if err := cmp.Or(n.indexer.Failing(), n.index.Failing()); err != nil {
		return err
	}
	return n.indexer.AwaitOwn(ctx)
}

func (n *node) readyz(w http.ResponseWriter, r *http.Request) {
	status, checks := http.StatusOK, []check{}
	for _, c := range n.report.Checks(r.Context()) {
		line := check{Name: c.Name, Ready: c.Err == nil}
		if c.Err != nil {
			status, line.Why = http.StatusServiceUnavailable, c.Err.Error()
		}
		checks = append(checks, line)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{"ready": status == http.StatusOK, "checks": checks}) //nolint:errcheck // the client has gone
}

// maxHTTP2Streams bounds the requests under way on one connection.
const maxHTTP2Streams = 128

// serveWeb answers DICOMweb, the API and pages until ctx ends. HTTP/2 is spoken
// without TLS too, as gRPC needs it.
func (n *node) serveWeb(ctx context.Context) error {
	c := n.config
	server := newHTTPServer(n.handler(n.dicomweb()), c.Idle, n.log)
	server.ConnState = listener.ConnState
	server.Protocols = new(http.Protocols)
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetHTTP2(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	server.HTTP2 = &http.HTTP2Config{
		MaxConcurrentStreams: maxHTTP2Streams, SendPingTimeout: c.Idle, PingTimeout: c.Stall, WriteByteTimeout: c.Stall,
	}
	stop := context.AfterFunc(ctx, n.rpc.Drain)
	defer stop()
	return serveHTTP(ctx, n.http, server, c.Grace, n.log)
}

func newHTTPServer(h http.Handler, idle time.Duration, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idle,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// serveHTTP answers requests until ctx ends, then lets those under way finish
// within grace.
func serveHTTP(ctx context.Context, l net.Listener, server *http.Server, grace time.Duration, log *slog.Logger) error {
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	err := server.Shutdown(bounded)
	if err != nil {
		log.Warn("HTTP transfers were cut at the end of the grace time", "error", err)
		server.Close()
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
