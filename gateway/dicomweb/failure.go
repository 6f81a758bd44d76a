package dicomweb

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"strconv"

	"github.com/esante-alsace/cigogne/storage"
)

// statusError is an error that knows its HTTP status.
type statusError struct {
	status int
	error
}

func (e statusError) Unwrap() error { return e.error }

// answerWith gives an error a status that the sentinels of package storage
// have no word for.
func answerWith(status int, err error) error { return statusError{status, err} }

// statusClientGone is what nginx logs when the client did not wait for its
// answer; nobody reads it but the log and the metrics.
const statusClientGone = 499

// statusOf is the one place where an error becomes an HTTP status.
func statusOf(err error) int {
	var known statusError
	switch {
	case errors.As(err, &known):
		return known.status
	case errors.Is(err, storage.ErrForbidden):
		return http.StatusForbidden
	case errors.Is(err, storage.ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, storage.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		return http.StatusServiceUnavailable
	case errors.Is(err, storage.ErrFull):
		return http.StatusInsufficientStorage
	case errors.Is(err, storage.ErrTooLarge):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, storage.ErrUnsupported):
		return http.StatusNotImplemented
	case errors.Is(err, storage.ErrConflict), errors.Is(err, storage.ErrMismatch), errors.Is(err, storage.ErrProtected):
		return http.StatusConflict
	case errors.Is(err, storage.ErrCorrupt):
		return http.StatusInternalServerError
	case errors.Is(err, storage.ErrInvalid):
		return http.StatusBadRequest
	case errors.Is(err, context.Canceled):
		return statusClientGone
	case errors.Is(err, os.ErrDeadlineExceeded):
		return http.StatusRequestTimeout
	}
	return http.StatusInternalServerError
}

// retryAfter is when a client may try again what is unavailable, in seconds.
const retryAfter = "5"

// publicText is what a client is told of an error. The text of one that is our
// own fault stays in the log.
func publicText(err error) string {
	if statusOf(err) == http.StatusInternalServerError {
		return "internal error"
	}
	return err.Error()
}

// refuse answers with an error: a JSON object that says why.
func (s *service) refuse(w *answer, r *http.Request, err error) {
	status, text := statusOf(err), publicText(err)
	body, err := json.Marshal(struct {
		Error     string `json:"error"`
		RequestID string `json:"requestId,omitempty"`
	}{text, s.RequestID(r)})
	if err != nil { // cannot be: two strings
		body = []byte("{}")
	}
	header := w.Header()
	for _, representation := range []string{"ETag", "Content-Disposition", "Accept-Ranges"} {
		header.Del(representation)
	}
	if status != http.StatusRequestedRangeNotSatisfiable {
		header.Del("Content-Range")
	}
	header.Set("Cache-Control", "no-store") // a 404 may be kept otherwise, and the study comes later
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	if status == http.StatusServiceUnavailable {
		header.Set("Retry-After", retryAfter)
	}
	w.WriteHeader(status)
	w.refused = true
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // a client that is gone needs no answer
	}
	_ = w.finish()
}

// isUnsupported tells that a http.ResponseWriter cannot do what was asked.
func isUnsupported(err error) bool { return errors.Is(err, http.ErrNotSupported) }
