package httpserver

import (
	"context"
	"net/http"
	"time"

	"github.com/esante-alsace/cigogne/gateway/throttle"
)

// answerTime bounds the work for what is answered in one go. DICOMweb and the API
// have bounds of their own, which let long transfers go on.
const answerTime = 30 * time.Second

// Timed bounds the time of requests that are small, and of which the answer is:
// to be worked on, and to be taken. Paced bounds that to come.
func Timed(next http.Handler, stall time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), answerTime)
		defer cancel()
		next.ServeHTTP(throttle.Press(w, stall), r.WithContext(ctx))
	})
}

// Paced takes away the deadlines that the request before has left on the
// connection, and sets those which hold where a handler sets none: a body that
// nobody reads must come within stall, and so must the end of an answer be
// taken.
func Paced(next http.Handler, stall time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		_ = control.SetWriteDeadline(time.Time{}) // a connection that is gone says so when it is used
		if r.Body != http.NoBody {
			_ = control.SetReadDeadline(time.Now().Add(stall))
		}
		next.ServeHTTP(w, r)
		if r.ProtoMajor == 1 {
			_ = control.SetWriteDeadline(time.Now().Add(stall))
		}
	})
}
