package main

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/esante-alsace/cigogne/cmd/cigogne/httpserver"
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

// answers writes what the paths for operators answer.
func (n *node) answers(about string) answer.Writer {
	return answer.Writer{About: about, RequestID: httpserver.RequestID, Log: n.log}
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
			h = httpserver.OwnPages(h)
		}
		mux.Handle(pattern, h)
	}
	dicomweb = http.StripPrefix("/dicom-web", n.consistent(n.takeNothingNew(httpserver.Compress(n.boundUploads(dicomweb), textOfDICOM))))
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
	api := httpserver.OwnPages(httpserver.Compress(n.rpc, textOfAPI))
	all := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if rpc.Handles(r) && native[r.URL.Path] == nil { // it asks the gatekeeper itself, when it has read the request
			api.ServeHTTP(w, r)
			return
		}
		if p := r.URL.Path; strings.HasPrefix(p, "/dicom-web/") && path.Clean(p) == p { // it has a mux of its own
			dicomweb.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
	return httpserver.Paced(httpserver.Identified(n.knownByName(httpserver.Textual(n.follow(all)))), n.config.Stall)
}

// knownByName refuses what is for another name than ours. On loopback that is
// what keeps the pages of others out; beyond it our names are known only when
// we are told.
func (n *node) knownByName(next http.Handler) http.Handler {
	c := n.config
	if host, _, err := net.SplitHostPort(c.HTTP); len(c.Names) == 0 && (err != nil || !loopback(host)) {
		return next
	}
	names := slices.Clone(c.Names)
	if u, err := url.Parse(c.ManifestURL); err == nil && u.Host != "" {
		names = append(names, u.Hostname())
	}
	return httpserver.Named(next, names)
}

// timed bounds the time of requests that are small, and of which the answer is.
func (n *node) timed(next http.Handler) http.Handler { return httpserver.Timed(next, n.config.Stall) }

func healthz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Write([]byte("ok\n")) //nolint:errcheck // the client has gone
}

// textOfAPI tells what is compressed of REST. gRPC does that itself, and a stream
// is flushed message by message.
func textOfAPI(r *http.Request) bool {
	return r.ProtoMajor != 2 && !strings.HasSuffix(r.URL.Path, ":watch") && !strings.HasPrefix(r.URL.Path, "/v1/archives:")
}

// textOfDICOM tells what is compressed of DICOMweb: metadata takes a tenth of its
// time over a slow line. Instances, frames and ZIP files pass as they are, so
// that the kernel can send them.
func textOfDICOM(r *http.Request) bool {
	resource := strings.Trim(r.URL.Path, "/")
	return r.Method == http.MethodGet && (searches(resource) || strings.HasSuffix(resource, "/metadata") || strings.HasSuffix(resource, "/digests"))
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

// maxHTTP2Streams bounds the requests under way on one connection.
const maxHTTP2Streams = 128

// serveWeb answers DICOMweb, the API and pages until ctx ends. HTTP/2 is spoken
// without TLS too, as gRPC needs it.
func (n *node) serveWeb(ctx context.Context) error {
	c := n.config
	server := httpserver.New(n.handler(n.dicomweb()), c.Idle, n.log)
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
	return httpserver.Serve(ctx, n.http, server, c.Grace, n.log)
}
