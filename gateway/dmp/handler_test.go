package dmp_test

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

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/gateway/access"
	"github.com/esante-alsace/cigogne/gateway/answer"
	"github.com/esante-alsace/cigogne/gateway/dmp"
	"github.com/esante-alsace/cigogne/gateway/dmp/ins"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

// patients writes down what it is asked.
type patients struct {
	asked string
	err   error
}

func (p *patients) say(format string, args ...any) error {
	p.asked = fmt.Sprintf(format, args...)
	return p.err
}

func (p *patients) Assert(_ context.Context, a gateway.Assertion) (index.IdentityChange, error) {
	return index.IdentityChange{Name: "N", Kind: index.IdentityLinked}, p.say("assert %v %s %s %s %s", a.Local, a.Matricule, a.OID, a.Status, a.Traits.BirthName)
}

func (p *patients) Undo(_ context.Context, l index.PatientKey, _, why string) (index.IdentityChange, error) {
	return index.IdentityChange{}, p.say("undo %v %s", l, why)
}

func (p *patients) Settle(_ context.Context, name string, link bool, _, why string) (index.IdentityChange, error) {
	return index.IdentityChange{}, p.say("settle %s %t %s", name, link, why)
}

func (p *patients) Queue(_ context.Context, after int64, limit int) ([]index.IdentityChange, error) {
	return nil, p.say("queue %d %d", after, limit)
}

func (p *patients) History(context.Context, index.PatientKey, int64, int) ([]index.IdentityChange, error) {
	return nil, nil
}

func (p *patients) Number(_ context.Context, l index.PatientKey) (ins.Number, error) {
	return ins.Number{Matricule: "M", OID: "O"}, p.say("number %v", l)
}

func (p *patients) Oppose(_ context.Context, k index.PatientKey, opposes bool, _, why string) error {
	return p.say("oppose %v %t %s", k, opposes, why)
}

func (p *patients) Opposes(_ context.Context, k index.PatientKey) (bool, error) {
	return true, p.say("opposes %v", k)
}

func (p *patients) Identities(_ context.Context, matricule, oid string) ([]index.PatientKey, error) {
	return nil, p.say("identities %s %s", matricule, oid)
}

func TestHandler(t *testing.T) {
	const body = `{"matricule":"1","oid":"1.2","status":"VALI","traits":{"birthName":"X"}}`
	for _, c := range []struct {
		method, path, body string
		err                error
		status             int
		asked, answer      string
	}{
		{"PUT", "/local/HUS/47%2F11", body, nil, 200, "assert {HUS 47/11} 1 1.2 VALI X", `"kind":"linked"`},
		{"PUT", "/local/HUS/4711", body + "x", nil, 400, "", "follows"},
		{"PUT", "/local/HUS/4711", `{"matricule":"1","foo":1}`, nil, 400, "", "no assertion"},
		{"PUT", "/local/HUS/4711", `{"matricule":"` + strings.Repeat("1", 1<<17) + `"}`, nil, 400, "", "no assertion"},
		{"PUT", "/local/HUS/4711", body, storage.ErrInvalid, 400, "assert {HUS 4711} 1 1.2 VALI X", "invalid"},
		{"PUT", "/local/HUS/4711", body, storage.ErrUnavailable, 503, "assert {HUS 4711} 1 1.2 VALI X", "unavailable"},
		{"PUT", "/local/HUS/4711", body, errors.New("patient Odile"), 500, "assert {HUS 4711} 1 1.2 VALI X", "internal error"},
		{"GET", "/local/HUS/4711", "", nil, 200, "number {HUS 4711}", `"matricule":"M"`},
		{"GET", "/local/HUS/4711", "", storage.ErrNotFound, 404, "number {HUS 4711}", "not found"},
		{"DELETE", "/local/HUS/4711?reason=x", "", nil, 200, "undo {HUS 4711} x", "{"},
		{"GET", "/national/1.2/279", "", nil, 200, "identities 279 1.2", "[]"},
		{"GET", "/queue?after=7&limit=3", "", nil, 200, "queue 7 3", "[]"},
		{"GET", "/queue?after=-1", "", nil, 400, "", "after"},
		{"GET", "/queue?limit=1001", "", nil, 400, "", "limit"},
		{"PUT", "/oppositions/HUS/4711?reason=z", "", nil, 200, "oppose {HUS 4711} true z", `"opposes":true`},
		{"DELETE", "/oppositions/HUS/4711", "", nil, 200, "oppose {HUS 4711} false ", `"opposes":false`},
		{"GET", "/oppositions/HUS/4711", "", nil, 200, "opposes {HUS 4711}", `"opposes":true`},
		{"PUT", "/queue/N?reason=y", "", nil, 200, "settle N true y", "{"},
		{"DELETE", "/queue/N", "", storage.ErrNotFound, 404, "settle N false ", "not found"},
		{"POST", "/queue/N", "", nil, 405, "", ""},
	} {
		p := &patients{err: c.err}
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), c.method, c.path, strings.NewReader(c.body))
		dmp.New(p, answer.Writer{Log: slog.New(slog.DiscardHandler)}).ServeHTTP(w, r)
		answer, err := io.ReadAll(w.Body)
		if err != nil || w.Code != c.status || p.asked != c.asked || !strings.Contains(string(answer), c.answer) || strings.Contains(string(answer), "Odile") {
			t.Errorf("%s %s: %d %s, asked %q", c.method, c.path, w.Code, answer, p.asked)
		}
		want := access.Identify
		if c.method == http.MethodGet {
			want = access.Oversee
		}
		if got := dmp.Operation(r); got != want {
			t.Errorf("%s %s is %s", c.method, c.path, got)
		}
	}
}
