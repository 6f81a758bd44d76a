package ops

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"

	"github.com/esante-alsace/cigogne/gateway/access"
)

// Root is the path of the page, and ReportPath where other nodes ask for this
// one's report.
const (
	Root       = "/ops"
	ReportPath = "/ops/v1/report"
)

//go:embed templates
var templates embed.FS

//go:embed static
var static embed.FS

// policy lets the page load its own files and talk to its own node only.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// assets are the addresses of the page's files, which change with them.
type assets map[string]string

// page serves the page.
type page struct {
	desk   *Desk
	log    *slog.Logger
	layout *template.Template
	words  map[string]*words
	assets assets
}

// Operation is what a request for the page wants to do: the page names studies
// and senders.
func Operation(r *http.Request) access.Operation {
	if strings.HasPrefix(r.URL.Path, Root+"/static/") {
		return access.Observe
	}
	return access.Oversee
}

// Handler serves the page below Root.
func Handler(d *Desk, log *slog.Logger) (http.Handler, error) {
	p := &page{desk: d, log: log}
	var err error
	if p.words, err = loadWords(); err != nil {
		return nil, err
	}
	if p.layout, err = template.ParseFS(templates, "templates/*.html"); err != nil {
		return nil, fmt.Errorf("page: %w", err)
	}
	files, err := fs.Sub(static, "static")
	if err != nil {
		return nil, err
	}
	if p.assets, err = address(files); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+Root, p.serve("page.html"))
	mux.HandleFunc("GET "+Root+"/{$}", p.serve("page.html"))
	mux.HandleFunc("GET "+Root+"/live", p.serve("live.html"))
	mux.Handle("GET "+Root+"/static/", http.StripPrefix(Root+"/static/", lasting(http.FileServerFS(files))))
	return secure(mux), nil
}

// address gives each file an address that names its content.
func address(files fs.FS) (assets, error) {
	all := assets{}
	entries, err := fs.ReadDir(files, ".")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		b, err := fs.ReadFile(files, e.Name())
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(b)
		all[e.Name()] = Root + "/static/" + e.Name() + "?" + hex.EncodeToString(sum[:6])
	}
	return all, nil
}

// lasting lets files be kept that are asked for by what they hold.
func lasting(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "" {
			w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		}
		next.ServeHTTP(w, r)
	})
}

func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// serve shows the picture as it is now: as a whole page, or the part of it
// that the page asks for again and again.
func (p *page) serve(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		v := &view{
			W: p.words[choose(q.Get("lang"), r.Header.Get("Accept-Language"))], Assets: p.assets,
			Day: q.Get("window") == "day", Languages: Languages(), Picture: p.desk.Picture(r.Context()),
		}
		v.Findings = v.Picture.Findings()
		var out bytes.Buffer
		if err := p.layout.ExecuteTemplate(&out, name, v); err != nil {
			p.log.Error("operator page", "error", err)
			http.Error(w, "internal error", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Language", v.W.Language)
		w.Header().Set("Vary", "Accept-Language")
		w.Write(out.Bytes()) //nolint:errcheck // the reader has gone
	}
}

// ReportHandler answers other nodes: a HEAD request tells that this node
// lives.
func ReportHandler(d *Desk) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Method == http.MethodHead {
			return
		}
		json.NewEncoder(w).Encode(d.Report()) //nolint:errcheck // who asked has gone
	})
}
