// Package answer is how the paths that operators and their scripts ask answer:
// in JSON, with the status that an error has.
package answer

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"

	"github.com/esante-alsace/cigogne/storage"
)

// Writer writes the answers of one handler.
type Writer struct {
	// About is what the handler is for, in the log.
	About string
	// RequestID is the request's id as it stands in the log; it may be nil.
	RequestID func(*http.Request) string
	Log       *slog.Logger
}

// retryAfter is when what is unavailable may be asked for again, in seconds.
const retryAfter = "5"

// Write answers with a value, or with {"error": why, "requestId": id}. What is
// our own fault is logged under that id, and not told.
func (a Writer) Write(w http.ResponseWriter, r *http.Request, v any, err error) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	status := Status(err)
	if err != nil {
		id := ""
		if a.RequestID != nil {
			id = a.RequestID(r)
		}
		v = failure{a.text(r, id, status, err), id}
	}
	if status == http.StatusServiceUnavailable {
		h.Set("Retry-After", retryAfter)
	}
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v) //nolint:errcheck,errchkjson // the client has gone
}

type failure struct {
	Error     string `json:"error"`
	RequestID string `json:"requestId,omitempty"`
}

func (a Writer) text(r *http.Request, id string, status int, err error) string {
	if status != http.StatusInternalServerError {
		return err.Error()
	}
	a.Log.LogAttrs(r.Context(), slog.LevelError, "a request failed",
		slog.String("about", a.About), slog.String("request", id), slog.String("method", r.Method), slog.Any("error", err))
	return "internal error"
}

// statusClientGone is what nginx logs when the client did not wait.
const statusClientGone = 499

// Status is the HTTP status of an error: 200 for nil, 500 for one that wraps
// no sentinel which a caller can do something about.
func Status(err error) int {
	if err == nil {
		return http.StatusOK
	}
	for _, c := range []struct {
		is     error
		status int
	}{
		{storage.ErrForbidden, http.StatusForbidden},
		{storage.ErrNotFound, http.StatusNotFound},
		{storage.ErrGone, http.StatusGone},
		{storage.ErrProtected, http.StatusConflict},
		{storage.ErrConflict, http.StatusConflict},
		{storage.ErrInvalid, http.StatusBadRequest},
		{storage.ErrUnsupported, http.StatusUnsupportedMediaType},
		{storage.ErrTooLarge, http.StatusRequestEntityTooLarge},
		{storage.ErrFull, http.StatusInsufficientStorage},
		{storage.ErrUnavailable, http.StatusServiceUnavailable},
		{context.DeadlineExceeded, http.StatusServiceUnavailable},
		{context.Canceled, statusClientGone},
	} {
		if errors.Is(err, c.is) {
			return c.status
		}
	}
	return http.StatusInternalServerError
}
