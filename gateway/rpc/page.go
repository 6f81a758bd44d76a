package rpc

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"
)

// policy lets the page load its own style and nothing else.
const policy = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// page is the description of REST, for programs and for people.
type page struct{ raw, html, css []byte }

// described is the part of the description that the page shows.
type described struct {
	Tags []struct{ Name, Description string }
	// Paths are by path, then by method.
	Paths       map[string]map[string]*operation
	Definitions map[string]definition
}

type operation struct {
	Path, Method         string
	OperationID          string `json:"operationId"`
	Summary, Description string
	Tags                 []string
	Parameters           []struct {
		Name, In, Description, Type string
		Required                    bool
	}
}

type definition struct {
	Description string
	Properties  map[string]struct {
		Title, Description, Type string
	}
}

func newPage() (*page, error) {
	raw, err := assets.ReadFile("assets/openapi.json")
	if err != nil {
		return nil, err
	}
	var d described
	if err := json.Unmarshal(raw, &d); err != nil {
		return nil, fmt.Errorf("openapi.json: %w", err)
	}
	layout, err := template.New("api.html").ParseFS(assets, "assets/api.html")
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := layout.Execute(&out, d.services()); err != nil {
		return nil, err
	}
	css, err := assets.ReadFile("assets/api.css")
	return &page{raw, out.Bytes(), css}, err
}

type service struct {
	Name       string
	Operations []*operation
}

// services are the operations by service, in the order of their paths.
func (d *described) services() []service {
	by := map[string][]*operation{}
	for path, methods := range d.Paths {
		for method, o := range methods {
			o.Path, o.Method = path, strings.ToUpper(method)
			for _, tag := range o.Tags {
				by[tag] = append(by[tag], o)
			}
		}
	}
	var all []service
	for name, list := range by {
		slices.SortFunc(list, func(a, b *operation) int {
			return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Method, b.Method))
		})
		all = append(all, service{name, list})
	}
	slices.SortFunc(all, func(a, b service) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

func (p *page) description(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(p.raw) // the client has gone
}

func (p *page) style(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(p.css) // the client has gone
}

func (p *page) readable(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	_, _ = w.Write(p.html) // the client has gone
}
