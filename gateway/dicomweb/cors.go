package dicomweb

import (
	"net/http"
	"slices"
)

// crossOrigin says which pages of other origins may use the answer (the Fetch
// standard's CORS protocol), and answers preflight requests itself, which it
// tells by true.
func (s *service) crossOrigin(w http.ResponseWriter, r *http.Request) bool {
	if len(s.CORSOrigins) == 0 {
		return false
	}
	header := w.Header()
	header.Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	anyone := slices.Contains(s.CORSOrigins, "*")
	if origin == "" || !anyone && !slices.Contains(s.CORSOrigins, origin) {
		return false
	}
	if anyone {
		origin = "*"
	}
	header.Set("Access-Control-Allow-Origin", origin)
	header.Set("Access-Control-Expose-Headers", "Accept-Ranges, Content-Disposition, Content-Range, ETag, Retry-After, Warning")
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	header.Set("Access-Control-Allow-Methods", "GET, HEAD, POST")
	header.Set("Access-Control-Allow-Headers", "Accept, Authorization, Content-Type, If-Match, If-None-Match, If-Range, Range")
	header.Set("Access-Control-Max-Age", "3600")
	w.WriteHeader(http.StatusNoContent)
	return true
}
