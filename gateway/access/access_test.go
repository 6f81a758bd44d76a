package access_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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

// TestAudited: what is refused is written down with who asked for it, and
// without a patient; what is permitted is none of its business.
func TestAudited(t *testing.T) {
	var log strings.Builder
	refused := map[access.Operation]string{access.Delete: "not here", access.Identify: "not you"}
	k := access.Audited{Gatekeeper: access.Except{Gatekeeper: access.Open{}, Refused: refused}, Log: slog.New(slog.NewTextHandler(&log, nil))}
	who := access.Caller{Transport: "http", RemoteAddr: "192.0.2.7:104"}
	if err := k.Permit(t.Context(), who, access.Search, "/dicom-web/studies"); err != nil || log.Len() != 0 {
		t.Errorf("%v: %s", err, &log)
	}
	if err := k.Permit(t.Context(), who, access.Delete, "studies/1.2"); !errors.Is(err, storage.ErrForbidden) {
		t.Error(err)
	}
	for _, want := range []string{"msg=audit", "what=refused", "operation=delete", "resource=studies/1.2", "192.0.2.7:104", "not here"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %s in %s", want, &log)
		}
	}
	if err := k.Permit(t.Context(), who, access.Identify, "/identities/local/HUS/4711"); err == nil || strings.Contains(log.String(), "4711") {
		t.Errorf("%v: %s", err, &log)
	}
}

// TestExcept: what is refused is refused to all, with a reason; the rest is
// another's to say.
func TestExcept(t *testing.T) {
	keeper := access.Except{Gatekeeper: readers{}, Refused: map[access.Operation]string{access.Delete: "deletion is off"}}
	for op, want := range map[access.Operation]string{
		access.Delete: "forbidden: deletion is off", access.Store: "forbidden", access.Search: "<nil>",
	} {
		err := keeper.Permit(t.Context(), access.Caller{}, op, "")
		if got := fmt.Sprint(err); got != want || err != nil && !errors.Is(err, storage.ErrForbidden) {
			t.Errorf("%s: %s, want %s", op, got, want)
		}
	}
}

// TestWho: a caller is told by its address, and by what it says of itself.
func TestWho(t *testing.T) {
	for from, want := range map[string]string{
		"":                       "192.0.2.1:1234",
		"odile@chu.example":      "odile@chu.example (unproven), from 192.0.2.1:1234",
		"a\x00\nb\xff":           "ab (unproven), from 192.0.2.1:1234",
		strings.Repeat("é", 200): strings.Repeat("é", 100) + " (unproven), from 192.0.2.1:1234",
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.Header.Set("From", from)
		if got := access.Who(r); got != want {
			t.Errorf("%q: %q, want %q", from, got, want)
		}
	}
}
