package main

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/esante-alsace/cigogne/gateway/dmp/publication"
)

// TestOpenAPITellsEveryRoute: what the description names is what is bound by
// the .proto files and what native handlers answer, no more and no less; a node
// answers all of it, and the page shows it.
func TestOpenAPITellsEveryRoute(t *testing.T) {
	t.Parallel()
	served := serve(t, t.TempDir())
	var described struct {
		Paths map[string]map[string]struct {
			Summary string
		}
	}
	if err := json.Unmarshal(page(t, served, "/openapi.json"), &described); err != nil {
		t.Fatal(err)
	}
	readable := string(page(t, served, "/api"))
	var told []string
	for path, methods := range described.Paths {
		for method := range methods {
			told = append(told, strings.ToUpper(method)+" "+path)
		}
		if !strings.Contains(readable, "<code>"+path+"</code>") {
			t.Errorf("/api does not show %s", path)
		}
		if status := patch(t, served, regexp.MustCompile(`\{\w+\}`).ReplaceAllString(path, "1.2.3")); status != http.StatusMethodNotAllowed {
			t.Errorf("PATCH %s: %d, which is not what a path answers that is there", path, status)
		}
	}
	if status := patch(t, served, "/v1/nothing"); status != http.StatusNotFound {
		t.Errorf("a path that is not there: %d", status)
	}
	bound := boundRoutes(t)
	for path := range (&node{publication: publication.New(publication.Options{})}).native() {
		bound = append(bound, http.MethodPost+" "+path)
	}
	slices.Sort(told)
	slices.Sort(bound)
	if !slices.Equal(told, bound) {
		t.Errorf("described:\n%s\nbound:\n%s", strings.Join(told, "\n"), strings.Join(bound, "\n"))
	}
}

func patch(t *testing.T, p *process, path string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, p.web+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	return res.StatusCode
}

// boundRoutes are the REST routes of the .proto files, with the names of fields
// as JSON has them.
func boundRoutes(t *testing.T) (routes []string) {
	t.Helper()
	field := regexp.MustCompile(`_[a-z]`)
	protoregistry.GlobalFiles.RangeFilesByPackage("cigogne.v1", func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			methods := f.Services().Get(i).Methods()
			for j := range methods.Len() {
				rule, _ := proto.GetExtension(methods.Get(j).Options(), annotations.E_Http).(*annotations.HttpRule)
				for _, r := range append([]*annotations.HttpRule{rule}, rule.GetAdditionalBindings()...) {
					if at := routeOf(r); at != "" {
						routes = append(routes, field.ReplaceAllStringFunc(at, func(s string) string { return strings.ToUpper(s[1:]) }))
					}
				}
			}
		}
		return true
	})
	if len(routes) < 30 {
		t.Fatalf("only %d routes are bound", len(routes))
	}
	return routes
}

func routeOf(r *annotations.HttpRule) string {
	switch {
	case r.GetGet() != "":
		return "GET " + r.GetGet()
	case r.GetPut() != "":
		return "PUT " + r.GetPut()
	case r.GetPost() != "":
		return "POST " + r.GetPost()
	case r.GetDelete() != "":
		return "DELETE " + r.GetDelete()
	case r.GetPatch() != "":
		return "PATCH " + r.GetPatch()
	}
	return ""
}
