package answer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/gateway/answer"
	"github.com/esante-alsace/cigogne/storage"
)

// TestWrite: a caller learns what it can do something about; the rest is in
// the log, with the request's id.
func TestWrite(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		body   string
		logged bool
	}{
		{nil, http.StatusOK, `{"id":"7"}`, false},
		{storage.ErrForbidden, http.StatusForbidden, "", false},
		{storage.ErrNotFound, http.StatusNotFound, "", false},
		{storage.ErrGone, http.StatusGone, "", false},
		{storage.ErrProtected, http.StatusConflict, "", false},
		{storage.ErrConflict, http.StatusConflict, "", false},
		{storage.ErrInvalid, http.StatusBadRequest, "", false},
		{storage.ErrUnsupported, http.StatusUnsupportedMediaType, "", false},
		{storage.ErrTooLarge, http.StatusRequestEntityTooLarge, "", false},
		{storage.ErrFull, http.StatusInsufficientStorage, "", false},
		{storage.ErrUnavailable, http.StatusServiceUnavailable, "", false},
		{context.DeadlineExceeded, http.StatusServiceUnavailable, "", false},
		{context.Canceled, 499, "", false},
		{storage.ErrCorrupt, http.StatusInternalServerError, `{"error":"internal error","requestId":"R42"}`, true},
		{errors.New("disk I/O error"), http.StatusInternalServerError, `{"error":"internal error","requestId":"R42"}`, true},
	} {
		t.Run(fmt.Sprint(c.err), func(t *testing.T) {
			var log bytes.Buffer
			a := answer.Writer{
				About: "holds", RequestID: func(*http.Request) string { return "R42" },
				Log: slog.New(slog.NewTextHandler(&log, nil)),
			}
			err := c.err
			if err != nil {
				err = fmt.Errorf("study 1.2: %w", err)
			}
			w := httptest.NewRecorder()
			a.Write(w, httptest.NewRequest(http.MethodGet, "/", nil), map[string]string{"id": "7"}, err)
			want := c.body
			if want == "" {
				want = fmt.Sprintf(`{"error":"study 1.2: %s","requestId":"R42"}`, c.err)
			}
			if got := strings.TrimSpace(w.Body.String()); w.Code != c.status || got != want {
				t.Errorf("%d %s, want %d %s", w.Code, got, c.status, want)
			}
			if retry := w.Header().Get("Retry-After"); (retry != "") != (c.status == http.StatusServiceUnavailable) {
				t.Errorf("Retry-After %q", retry)
			}
			if logged := strings.Contains(log.String(), "request=R42"); logged != c.logged || !c.logged && log.Len() > 0 {
				t.Errorf("logged: %s", log.String())
			}
		})
	}
}
