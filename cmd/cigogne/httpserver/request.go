package httpserver

import (
	"context"
	"crypto/rand"
	"net/http"
	"unicode/utf8"

	"github.com/klauspost/compress/gzhttp"
)

type requestIDKey struct{}

// RequestID is the id of the request, as it stands in the log.
func RequestID(r *http.Request) string { return IDOf(r.Context()) }

// IDOf is the id of the request whose context it is.
func IDOf(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// Identified gives each request an id of its own and tells it the client.
func Identified(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := rand.Text()[:12]
		w.Header().Set("X-Request-Id", id)
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), requestIDKey{}, id)))
	})
}

// OwnPages refuses what a browser sends for a page of another origin and would
// change something: an operator's browser reaches nodes that the page's author
// does not.
func OwnPages(next http.Handler) http.Handler { return http.NewCrossOriginProtection().Handler(next) }

// Textual refuses paths and queries that are no text in UTF-8: reasons and
// names out of them are told to others.
func Textual(next http.Handler) http.Handler {
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

// Compress compresses the answers to requests for text, for clients that ask for
// it.
func Compress(next http.Handler, text func(*http.Request) bool) http.Handler {
	compressed := gzhttp.GzipHandler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if text(r) {
			compressed.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}
