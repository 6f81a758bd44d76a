package access_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/gateway/access"
	"github.com/esante-alsace/cigogne/storage"
)

// readers permits everything but storing.
type readers struct{}

func (readers) Permit(_ context.Context, _ access.Caller, op access.Operation, _ string) error {
	if op == access.Store {
		return storage.ErrForbidden
	}
	return nil
}

func classify(r *http.Request) access.Operation {
	if r.Method == http.MethodPost {
		return access.Store
	}
	return access.Search
}

func TestGuard(t *testing.T) {
	for _, c := range []struct {
		name    string
		keeper  access.Gatekeeper
		method  string
		want    int
		reached bool
	}{
		{"open lets a search through", access.Open{}, http.MethodGet, http.StatusOK, true},
		{"open lets a store through", access.Open{}, http.MethodPost, http.StatusOK, true},
		{"readers may search", readers{}, http.MethodGet, http.StatusOK, true},
		{"readers may not store", readers{}, http.MethodPost, http.StatusForbidden, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			reached := false
			h := access.Guard(c.keeper, classify, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), c.method, "/dicom-web/studies", strings.NewReader("x")))
			if w.Code != c.want || reached != c.reached {
				t.Fatalf("status %d, reached %t; want %d, %t", w.Code, reached, c.want, c.reached)
			}
		})
	}
}
