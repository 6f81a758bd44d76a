package dmp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/gateway/access"
	"github.com/esante-alsace/cigogne/gateway/answer"
	"github.com/esante-alsace/cigogne/gateway/dmp/ins"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

// Patients is whose identifiers are one person's.
type Patients interface {
	Assert(ctx context.Context, a gateway.Assertion) (index.IdentityChange, error)
	Undo(ctx context.Context, local index.PatientKey, by, why string) (index.IdentityChange, error)
	Settle(ctx context.Context, name string, link bool, by, why string) (index.IdentityChange, error)
	Queue(ctx context.Context, after int64, limit int) ([]index.IdentityChange, error)
	History(ctx context.Context, local index.PatientKey, after int64, limit int) ([]index.IdentityChange, error)
	Number(ctx context.Context, local index.PatientKey) (ins.Number, error)
	Identities(ctx context.Context, matricule, oid string) ([]index.PatientKey, error)
	Oppose(ctx context.Context, patient index.PatientKey, opposes bool, by, why string) error
	Opposes(ctx context.Context, patient index.PatientKey) (bool, error)
}

// Bounds of requests and answers.
const (
	pageMost = 1000
	bodyMost = 64 << 10
)

type handler struct {
	patients Patients
}

// New returns the handler. It is mounted with http.StripPrefix. What changes
// something is PUT or DELETE, which no page of another origin can send.
func New(p Patients, a answer.Writer) http.Handler {
	h := &handler{p}
	mux := http.NewServeMux()
	for pattern, to := range map[string]func(*http.Request) (any, error){
		"PUT /local/{issuer}/{id}":          h.assert,
		"GET /local/{issuer}/{id}":          h.local,
		"DELETE /local/{issuer}/{id}":       h.undo,
		"GET /national/{oid}/{matricule}":   h.national,
		"GET /queue":                        h.queue,
		"PUT /queue/{name}":                 h.settle,
		"DELETE /queue/{name}":              h.settle,
		"GET /oppositions/{issuer}/{id}":    h.opposes,
		"PUT /oppositions/{issuer}/{id}":    h.oppose,
		"DELETE /oppositions/{issuer}/{id}": h.oppose,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			r.Body = http.MaxBytesReader(w, r.Body, bodyMost)
			v, err := to(r)
			a.Write(w, r, v, err)
		})
	}
	return mux
}

// Operation is what a request wants to do.
func Operation(r *http.Request) access.Operation {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return access.Oversee
	}
	return access.Identify
}

// assertion is the body that asserts whose a local identity is.
type assertion struct {
	Matricule string       `json:"matricule"`
	OID       string       `json:"oid"`
	Status    ins.Status   `json:"status"`
	Traits    index.Traits `json:"traits"`
}

func (h *handler) assert(r *http.Request) (any, error) {
	var a assertion
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&a); err != nil {
		return nil, fmt.Errorf("%w: the body is no assertion of an identity", storage.ErrInvalid)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: something follows the assertion", storage.ErrInvalid)
	}
	return h.patients.Assert(r.Context(), gateway.Assertion{
		Local: localOf(r), Matricule: a.Matricule, OID: a.OID, Status: a.Status, Traits: ins.Traits(a.Traits), By: access.Who(r),
	})
}

func localOf(r *http.Request) index.PatientKey {
	return index.PatientKey{Issuer: r.PathValue("issuer"), PatientID: r.PathValue("id")}
}

// number is a national number in an answer.
type number struct {
	OID       string `json:"oid"`
	Matricule string `json:"matricule"`
}

// identity is a local identity in an answer.
type identity struct {
	index.PatientKey
	Number  *number                `json:"number"` // null when it is not linked
	History []index.IdentityChange `json:"history"`
}

func (h *handler) local(r *http.Request) (any, error) {
	after, limit, err := page(r)
	if err != nil {
		return nil, err
	}
	i := identity{PatientKey: localOf(r)}
	if i.History, err = h.patients.History(r.Context(), i.PatientKey, after, limit); err != nil {
		return nil, err
	}
	switch n, err := h.patients.Number(r.Context(), i.PatientKey); {
	case err == nil:
		i.Number = &number{n.OID, n.Matricule}
	case !errors.Is(err, storage.ErrNotFound):
		return nil, err
	case len(i.History) == 0 && after == 0:
		return nil, fmt.Errorf("%w: nothing was decided about this identity", storage.ErrNotFound)
	}
	return i, nil
}

func (h *handler) undo(r *http.Request) (any, error) {
	return h.patients.Undo(r.Context(), localOf(r), access.Who(r), reason(r))
}

func (h *handler) national(r *http.Request) (any, error) {
	identities, err := h.patients.Identities(r.Context(), r.PathValue("matricule"), r.PathValue("oid"))
	if identities == nil {
		identities = []index.PatientKey{}
	}
	return identities, err
}

func (h *handler) queue(r *http.Request) (any, error) {
	after, limit, err := page(r)
	if err != nil {
		return nil, err
	}
	changes, err := h.patients.Queue(r.Context(), after, limit)
	if changes == nil {
		changes = []index.IdentityChange{}
	}
	return changes, err
}

// settle links what was queued, by PUT, or dismisses it.
func (h *handler) settle(r *http.Request) (any, error) {
	return h.patients.Settle(r.Context(), r.PathValue("name"), r.Method == http.MethodPut, access.Who(r), reason(r))
}

// opposition is whether a patient does not want to be in the shared record.
type opposition struct {
	index.PatientKey
	Opposes bool `json:"opposes"`
}

func (h *handler) opposes(r *http.Request) (any, error) {
	o := opposition{PatientKey: localOf(r)}
	var err error
	o.Opposes, err = h.patients.Opposes(r.Context(), o.PatientKey)
	return o, err
}

// oppose enters an opposition, by PUT, or ends it.
func (h *handler) oppose(r *http.Request) (any, error) {
	o := opposition{localOf(r), r.Method == http.MethodPut}
	return o, h.patients.Oppose(r.Context(), o.PatientKey, o.Opposes, access.Who(r), reason(r))
}

func reason(r *http.Request) string { return r.URL.Query().Get("reason") }

// page is after which Sequence, and how many.
func page(r *http.Request) (after int64, limit int, err error) {
	limit = pageMost
	if text := r.URL.Query().Get("after"); text != "" {
		if after, err = strconv.ParseInt(text, 10, 64); err != nil || after < 0 {
			return 0, 0, fmt.Errorf("%w: after: a sequence", storage.ErrInvalid)
		}
	}
	if text := r.URL.Query().Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > pageMost {
			return 0, 0, fmt.Errorf("%w: limit: 1 to %d", storage.ErrInvalid, pageMost)
		}
	}
	return after, limit, nil
}
