package dicomweb_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/gateway/dicomweb"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

// deleter answers as it is told, and remembers what it was asked.
type deleter struct {
	asked gateway.Request
	done  gateway.Deleted
	err   error
}

func (d *deleter) Delete(_ context.Context, q gateway.Request) (gateway.Deleted, error) {
	d.asked = q
	return d.done, d.err
}

func TestDelete(t *testing.T) {
	until := time.Date(2044, 3, 2, 0, 0, 0, 0, time.UTC)
	record := index.DeletionRecord{ID: "D1", StudyInstanceUID: "1.2", Series: 2, Instances: 7, Due: until.UnixNano()}
	for _, c := range []struct {
		name, path string
		done       gateway.Deleted
		err        error
		status     int
		body       string
	}{
		{"a study", "/studies/1.2?reason=mistake", gateway.Deleted{DeletionRecord: record}, nil, http.StatusAccepted,
			`{"id":"D1","studyInstanceUID":"1.2","series":2,"instances":7,"undoUntil":"2044-03-02T00:00:00Z","undo":"/custody/deletions/D1"}`},
		{"a series", "/studies/1.2/series/1.3", gateway.Deleted{DeletionRecord: record}, nil, http.StatusAccepted, `"id":"D1"`},
		{"before", "/studies/1.2", gateway.Deleted{DeletionRecord: record, Before: true}, nil, http.StatusNoContent, ""},
		{"none", "/studies/1.2", gateway.Deleted{}, fmt.Errorf("%w: study", storage.ErrNotFound), http.StatusNotFound, `"error":"not found: study"`},
		{"held and retained", "/studies/1.2", gateway.Deleted{}, &gateway.ProtectedError{Kept: index.Kept{
			Holds: []index.Hold{{Name: "case 7", Act: index.Act{At: 1e9, By: "judge"}}}, Years: 20, From: "20240301", Until: until.UnixNano(),
		}}, http.StatusConflict,
			`{"error":"protected: hold \"case 7\" since 1970-01-01, retention of 20 years until 2044-03-02","requestId":"request-1",` +
				`"holds":[{"name":"case 7","since":"1970-01-01T00:00:01Z"}],"retention":{"years":20,"from":"20240301","until":"2044-03-02T00:00:00Z"}}`},
		{"the index is away", "/studies/1.2", gateway.Deleted{}, storage.ErrUnavailable, http.StatusServiceUnavailable, "unavailable"},
		{"our fault", "/studies/1.2", gateway.Deleted{}, errors.New("secret"), http.StatusInternalServerError, "internal error"},
		{"no UID", "/studies/x", gateway.Deleted{}, nil, http.StatusBadRequest, "StudyInstanceUID"},
		{"no UID of a series", "/studies/1.2/series/..%2F", gateway.Deleted{}, nil, http.StatusBadRequest, "SeriesInstanceUID"},
		{"an instance", "/studies/1.2/series/1.3/instances/1.4", gateway.Deleted{}, nil, http.StatusMethodNotAllowed, ""},
		{"all studies", "/studies", gateway.Deleted{}, nil, http.StatusMethodNotAllowed, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := &deleter{done: c.done, err: c.err}
			s := newServer(t, func(o *dicomweb.Options) { o.Delete, o.Deletions = d, "/custody/deletions" })
			res := s.do(t, http.MethodDelete, c.path, http.Header{"From": {"odile@chu.example"}}, nil)
			if res.StatusCode != c.status || !strings.Contains(string(res.body), c.body) {
				t.Fatalf("%s %s, want %d %s", res.Status, res.body, c.status, c.body)
			}
			if c.status == http.StatusAccepted && (!json.Valid(res.body) || res.Header.Get("Location") != "/custody/deletions/D1" ||
				!strings.HasPrefix(d.asked.By, "odile@chu.example (unproven), from 127.0.0.1:") || d.asked.StudyInstanceUID != "1.2") {
				t.Errorf("asked %+v, location %q", d.asked, res.Header.Get("Location"))
			}
		})
	}
}

// TestNoDelete: where nothing can be deleted, DELETE is not known.
func TestNoDelete(t *testing.T) {
	s := newServer(t)
	if res := s.do(t, http.MethodDelete, "/studies/1.2", nil, nil); res.StatusCode != http.StatusMethodNotAllowed || strings.Contains(res.Header.Get("Allow"), "DELETE") {
		t.Errorf("%s, allowed %q", res.Status, res.Header.Get("Allow"))
	}
}
