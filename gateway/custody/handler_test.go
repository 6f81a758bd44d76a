package custody_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/gateway/access"
	"github.com/esante-alsace/cigogne/gateway/answer"
	"github.com/esante-alsace/cigogne/gateway/custody"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

// custodian knows one study and one deletion, and writes down what it is asked.
type custodian struct {
	asked string
	err   error
}

func (c *custodian) say(format string, args ...any) error {
	c.asked = fmt.Sprintf(format, args...)
	return c.err
}

func at(year int) int64 { return time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano() }

func record() index.DeletionRecord {
	return index.DeletionRecord{
		ID: "D1", StudyInstanceUID: "1.2", State: index.DeletionMarked, Revision: 3, Series: 1, Instances: 2,
		Marked: index.Act{At: at(2026), By: "odile", Why: "twice"}, Due: at(2027), Packs: []index.DeletedPack{{PackID: "p"}},
	}
}

func kept() index.Kept {
	return index.Kept{StudyInstanceUID: "1.2", Years: 20, From: "20240101", Until: at(2044), Holds: []index.Hold{{Name: "case 7", Act: index.Act{At: at(2025), By: "judge"}}}}
}

func (c *custodian) Undo(_ context.Context, id, by, why string) (index.DeletionRecord, error) {
	r := record()
	r.State, r.Undone = index.DeletionUndone, index.Act{At: at(2026), By: "x"}
	return r, c.say("undo %s %s %s", id, by, why)
}

func (c *custodian) Deletion(_ context.Context, id string) (gateway.DeletionStatus, error) {
	k := kept()
	return gateway.DeletionStatus{DeletionRecord: record(), Kept: &k, Trouble: &gateway.Trouble{Since: time.Unix(0, 0), Err: errors.New("away")}}, c.say("deletion %s", id)
}

func (c *custodian) Deletions(_ context.Context, after int64, limit int) ([]gateway.DeletionStatus, error) {
	return []gateway.DeletionStatus{{DeletionRecord: record()}}, c.say("deletions %d %d", after, limit)
}

func (c *custodian) Kept(_ context.Context, study string) (index.Kept, error) {
	return kept(), c.say("kept %s", study)
}

func (c *custodian) OnHold(_ context.Context, after string, limit int) ([]index.ProtectionRecord, error) {
	return []index.ProtectionRecord{{StudyInstanceUID: "1.2", Holds: kept().Holds}}, c.say("on hold %q %d", after, limit)
}

func (c *custodian) Hold(_ context.Context, name string, q gateway.Request) (index.Kept, error) {
	return kept(), c.say("hold %s of %s: %s", name, q.StudyInstanceUID, q.Why)
}

func (c *custodian) Release(_ context.Context, name string, q gateway.Request) (index.Kept, error) {
	return kept(), c.say("release %s of %s: %s", name, q.StudyInstanceUID, q.Why)
}

func (c *custodian) Retain(_ context.Context, years *int, q gateway.Request) (index.Kept, error) {
	if years == nil {
		return kept(), c.say("retain %q no years", q.StudyInstanceUID)
	}
	return kept(), c.say("retain %q %d", q.StudyInstanceUID, *years)
}

func (c *custodian) Retention(context.Context) (int, error) { return 30, nil }

func TestHandler(t *testing.T) {
	for _, c := range []struct {
		method, path string
		err          error
		asked        string
		status       int
		body         string
		operation    access.Operation
	}{
		{"GET", "/deletions", nil, "deletions 0 1000", 200, `[{"id":"D1","revision":3,"studyInstanceUID":"1.2","state":"marked","series":1,"instances":2,"packs":1,"marked":{"at":"2026-01-01T00:00:00Z","by":"odile","why":"twice"},"undoUntil":"2027-01-01T00:00:00Z"}]`, access.Oversee},
		{"GET", "/deletions?after=3&limit=7", nil, "deletions 3 7", 200, "", access.Oversee},
		{"GET", "/deletions?after=-3", nil, "", 400, "after", access.Oversee},
		{"GET", "/deletions?limit=1001", nil, "", 400, "limit", access.Oversee},
		{"GET", "/deletions/D1", nil, "deletion D1", 200, `"keptBy":{"studyInstanceUID":"1.2","holds":[{"name":"case 7","at":"2025-01-01T00:00:00Z","by":"judge"}],"retention":{"years":20,"own":false,"from":"20240101","until":"2044-01-01T00:00:00Z"}},"trouble":{"since":"1970-01-01T00:00:00Z","why":"away"}`, access.Oversee},
		{"GET", "/deletions/D2", storage.ErrNotFound, "deletion D2", 404, `{"error":"not found"}`, access.Oversee},
		{"DELETE", "/deletions/D1?reason=oops", nil, "undo D1 192.0.2.1:1234 oops", 200, `"state":"undone"`, access.Undelete},
		{"DELETE", "/deletions/D1", storage.ErrConflict, "undo D1 192.0.2.1:1234 ", 409, "", access.Undelete},
		{"GET", "/holds?after=1.1", nil, `on hold "1.1" 1000`, 200, `[{"studyInstanceUID":"1.2","holds":[{"name":"case 7"`, access.Oversee},
		{"GET", "/studies/1.2", nil, "kept 1.2", 200, `"until":"2044-01-01T00:00:00Z"`, access.Oversee},
		{"GET", "/studies/x", nil, "", 400, "", access.Oversee},
		{"PUT", "/studies/1.2/holds/case%207?reason=court", nil, "hold case 7 of 1.2: court", 200, "", access.Hold},
		{"PUT", "/studies/1.2/holds/7%2F2026", nil, "hold 7/2026 of 1.2: ", 200, "", access.Hold},
		{"PUT", "/studies/1.2/holds/a%00b", nil, "", 400, "", access.Hold},
		{"PUT", "/studies/1.2/holds/a?reason=%ff", nil, "", 400, "", access.Hold},
		{"DELETE", "/studies/1.2/holds/case%207", nil, "release case 7 of 1.2: ", 200, "", access.Release},
		{"PUT", "/studies/1.2/retention?years=5", nil, `retain "1.2" 5`, 200, "", access.Release},
		{"PUT", "/studies/1.2/retention", nil, "", 400, "years", access.Release},
		{"PUT", "/studies/1.2/retention?years=5000", nil, "", 400, "years", access.Release},
		{"DELETE", "/studies/1.2/retention", nil, `retain "1.2" no years`, 200, "", access.Release},
		{"GET", "/retention", nil, "", 200, `{"years":30}`, access.Oversee},
		{"PUT", "/retention?years=30", nil, `retain "" 30`, 200, `{"years":30}`, access.Release},
		{"DELETE", "/retention", nil, `retain "" no years`, 200, `{"years":30}`, access.Release},
		{"PUT", "/retention?years=30", errors.New("secret"), `retain "" 30`, 500, `{"error":"internal error"}`, access.Release},
		{"POST", "/deletions/D1", nil, "", 405, "", access.Release},
	} {
		t.Run(c.method+" "+c.path, func(t *testing.T) {
			to := &custodian{err: c.err}
			r := httptest.NewRequestWithContext(t.Context(), c.method, c.path, nil)
			w := httptest.NewRecorder()
			custody.New(to, answer.Writer{Log: slog.New(slog.DiscardHandler)}).ServeHTTP(w, r)
			body, err := io.ReadAll(w.Body)
			if err != nil || w.Code != c.status || !strings.Contains(string(body), c.body) || to.asked != c.asked {
				t.Errorf("%d %s (%v), asked %q; want %d %s, %q", w.Code, body, err, to.asked, c.status, c.body, c.asked)
			}
			if got := custody.Operation(r, r.URL.EscapedPath()); got != c.operation {
				t.Errorf("operation %s, want %s", got, c.operation)
			}
			if c.method == http.MethodGet && strings.Contains(string(body), "secret") {
				t.Errorf("told %s", body)
			}
		})
	}
}
