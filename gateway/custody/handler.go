package custody

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"unicode"
	"unicode/utf8"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/gateway/access"
	"github.com/esante-alsace/cigogne/gateway/answer"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

// Custodian is what must be kept and what is deleted.
type Custodian interface {
	Undo(ctx context.Context, id, by, why string) (index.DeletionRecord, error)
	Deletion(ctx context.Context, id string) (gateway.DeletionStatus, error)
	Deletions(ctx context.Context, after int64, limit int) ([]gateway.DeletionStatus, error)
	Kept(ctx context.Context, study string) (index.Kept, error)
	OnHold(ctx context.Context, after string, limit int) ([]index.ProtectionRecord, error)
	Hold(ctx context.Context, name string, q gateway.Request) (index.Kept, error)
	Release(ctx context.Context, name string, q gateway.Request) (index.Kept, error)
	Retain(ctx context.Context, years *int, q gateway.Request) (index.Kept, error)
	Retention(ctx context.Context) (years int, err error)
}

// pageMost bounds the entries of one answer.
const pageMost = 1000

type handler struct {
	custodian Custodian
}

// New returns the handler. It is mounted with http.StripPrefix. What changes
// something is PUT or DELETE, which no page of another origin can send.
func New(c Custodian, a answer.Writer) http.Handler {
	h := &handler{c}
	mux := http.NewServeMux()
	for pattern, to := range map[string]func(*http.Request) (any, error){
		"GET /deletions":         h.deletions,
		"GET /deletions/{id}":    h.deletion,
		"DELETE /deletions/{id}": h.undo,

		"GET /holds":                           h.holds,
		"GET /studies/{study}":                 h.kept,
		"PUT /studies/{study}/holds/{name}":    h.hold,
		"DELETE /studies/{study}/holds/{name}": h.release,
		"PUT /studies/{study}/retention":       h.retain,
		"DELETE /studies/{study}/retention":    h.retain,
		"GET /retention":                       h.retention,
		"PUT /retention":                       h.retain,
		"DELETE /retention":                    h.retain,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			v, err := to(r)
			a.Write(w, r, v, err)
		})
	}
	return mux
}

// Operation is what a request to one of the paths, escaped, wants to do.
func Operation(r *http.Request, path string) access.Operation {
	switch {
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		return access.Oversee
	case r.Method == http.MethodDelete && len(path) > len("/deletions/") && path[:len("/deletions/")] == "/deletions/":
		return access.Undelete
	case r.Method == http.MethodPut && holdPath(path):
		return access.Hold
	default:
		return access.Release
	}
}

func (h *handler) deletions(r *http.Request) (any, error) {
	q := r.URL.Query()
	after, err := number(q, "after", 0, 1<<62)
	if err != nil {
		return nil, err
	}
	limit, err := number(q, "limit", pageMost, pageMost)
	if err != nil {
		return nil, err
	}
	all, err := h.custodian.Deletions(r.Context(), after, int(limit))
	views := make([]Deletion, len(all))
	for i := range all {
		views[i] = viewOf(&all[i])
	}
	return views, err
}

func (h *handler) deletion(r *http.Request) (any, error) {
	s, err := h.custodian.Deletion(r.Context(), r.PathValue("id"))
	return viewOf(&s), err
}

func (h *handler) undo(r *http.Request) (any, error) {
	record, err := h.custodian.Undo(r.Context(), r.PathValue("id"), access.Who(r), reason(r))
	return viewOf(&gateway.DeletionStatus{DeletionRecord: record}), err
}

func (h *handler) holds(r *http.Request) (any, error) {
	limit, err := number(r.URL.Query(), "limit", pageMost, pageMost)
	if err != nil {
		return nil, err
	}
	all, err := h.custodian.OnHold(r.Context(), r.URL.Query().Get("after"), int(limit))
	views := make([]Holds, len(all))
	for i, p := range all {
		views[i] = Holds{StudyInstanceUID: p.StudyInstanceUID, Holds: viewHolds(p.Holds)}
	}
	return views, err
}

func (h *handler) kept(r *http.Request) (any, error) {
	q, err := request(r)
	if err != nil {
		return nil, err
	}
	k, err := h.custodian.Kept(r.Context(), q.StudyInstanceUID)
	return viewKept(&k), err
}

func (h *handler) hold(r *http.Request) (any, error) {
	q, err := request(r)
	if err != nil {
		return nil, err
	}
	name := r.PathValue("name")
	if !printable(name) {
		return nil, fmt.Errorf("%w: the name of a hold is printable text", storage.ErrInvalid)
	}
	k, err := h.custodian.Hold(r.Context(), name, q)
	return viewKept(&k), err
}

func (h *handler) release(r *http.Request) (any, error) {
	q, err := request(r)
	if err != nil {
		return nil, err
	}
	k, err := h.custodian.Release(r.Context(), r.PathValue("name"), q)
	return viewKept(&k), err
}

// retain sets retention, of a study or of all, or clears it.
func (h *handler) retain(r *http.Request) (any, error) {
	q, err := request(r)
	if err != nil {
		return nil, err
	}
	var years *int
	if r.Method == http.MethodPut {
		if !r.URL.Query().Has("years") {
			return nil, fmt.Errorf("%w: how many years?", storage.ErrInvalid)
		}
		n, err := number(r.URL.Query(), "years", 0, index.MaxRetention)
		if err != nil {
			return nil, err
		}
		y := int(n)
		years = &y
	}
	k, err := h.custodian.Retain(r.Context(), years, q)
	if err != nil || q.StudyInstanceUID != "" {
		return viewKept(&k), err
	}
	return h.retention(r)
}

func (h *handler) retention(r *http.Request) (any, error) {
	years, err := h.custodian.Retention(r.Context())
	return map[string]int{"years": years}, err
}

// request is who asks for what, and why.
func request(r *http.Request) (gateway.Request, error) {
	q := gateway.Request{StudyInstanceUID: r.PathValue("study"), By: access.Who(r), Why: reason(r)}
	if q.StudyInstanceUID != "" && !storage.ValidUID(q.StudyInstanceUID) {
		return q, fmt.Errorf("%w: StudyInstanceUID is not a UID", storage.ErrInvalid)
	}
	if !utf8.ValidString(q.Why) {
		return q, fmt.Errorf("%w: the reason is not text", storage.ErrInvalid)
	}
	return q, nil
}

func reason(r *http.Request) string { return r.URL.Query().Get("reason") }

func number(q url.Values, name string, otherwise, most int64) (int64, error) {
	text := q.Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > most {
		return 0, fmt.Errorf("%w: %s: 0 to %d", storage.ErrInvalid, name, most)
	}
	return n, nil
}

func printable(s string) bool {
	for _, c := range s {
		if !unicode.IsPrint(c) || c == utf8.RuneError {
			return false
		}
	}
	return s != ""
}
