package ops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/esante-alsace/cigogne/gateway/access"
)

// seen starts a desk over the cluster and returns the page's handler.
func seen(t *testing.T, r *region) (*Desk, http.Handler) {
	t.Helper()
	d := NewDesk(self{r}, r)
	d.examine(t.Context())
	d.overlook(t.Context())
	d.look(t.Context())
	h, err := Handler(d, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return d, h
}

func get(t *testing.T, h http.Handler, path string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	return w
}

// TestPage: whatever there is to tell, in each language the page is sound HTML
// that loads and runs nothing but its own files, and has its words.
func TestPage(t *testing.T) {
	for name, r := range map[string]*region{"calm": calm(), "grave": grave()} {
		_, h := seen(t, r)
		for _, l := range Languages() {
			for _, path := range []string{"/ops?lang=" + l, "/ops?window=day&lang=" + l, "/ops/live?lang=" + l} {
				w := get(t, h, path)
				html := w.Body.String()
				if w.Code != http.StatusOK || w.Header().Get("Content-Language") != l {
					t.Fatalf("%s %s: %d, %v", name, path, w.Code, w.Header())
				}
				policy := w.Header().Get("Content-Security-Policy")
				if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") ||
					w.Header().Get("X-Content-Type-Options") != "nosniff" || w.Header().Get("Cache-Control") != "no-store" {
					t.Errorf("%s: %v", path, w.Header())
				}
				wellFormed(t, name+" "+path, html)
				inside(t, html)
				if found := regexp.MustCompile(`\b(finding|action|queue|state|level|flow|format|certificate|conflict|work|sender|headline|window|mean)\.[a-z]+`).FindString(html); found != "" {
					t.Errorf("%s %s: %q has no words", name, path, found)
				}
			}
		}
	}
}

// wellFormed holds every element to its end, and every id to be one element's.
func wellFormed(t *testing.T, what, html string) {
	t.Helper()
	void := []string{"meta", "link", "img", "br", "!doctype"}
	var open []string
	for _, m := range regexp.MustCompile(`<(/?)([!a-zA-Z][a-zA-Z0-9]*)([^>]*)>`).FindAllStringSubmatch(html, -1) {
		tag := strings.ToLower(m[2])
		switch {
		case slices.Contains(void, tag):
		case m[1] == "":
			open = append(open, tag)
		case len(open) == 0 || open[len(open)-1] != tag:
			t.Fatalf("%s: </%s> closes %v", what, tag, open)
		default:
			open = open[:len(open)-1]
		}
	}
	if len(open) > 0 {
		t.Errorf("%s: %v stay open", what, open)
	}
	ids := map[string]bool{}
	for _, m := range regexp.MustCompile(`\sid="([^"]*)"`).FindAllStringSubmatch(html, -1) {
		if ids[m[1]] {
			t.Errorf("%s: the id %q is given twice", what, m[1])
		}
		ids[m[1]] = true
	}
	for _, m := range regexp.MustCompile(`aria-labelledby="([^"]*)"`).FindAllStringSubmatch(html, -1) {
		if !ids[m[1]] {
			t.Errorf("%s: nothing is called %q", what, m[1])
		}
	}
}

// inside finds what the policy forbids, and what leads elsewhere.
func inside(t *testing.T, html string) {
	t.Helper()
	if found := regexp.MustCompile(`(?i)<script[^>]*>[^<]|<style|\son[a-z]+="|\sstyle="`).FindString(html); found != "" {
		t.Errorf("the page has %q, which its policy forbids", found)
	}
	for _, m := range regexp.MustCompile(`(?:src|href|hx-get)="([^"]*)"`).FindAllStringSubmatch(html, -1) {
		if strings.HasPrefix(m[1], "//") || !strings.ContainsAny(m[1][:1], "/?#") {
			t.Errorf("the page leads to %q", m[1])
		}
	}
}

// TestPageTells: each part of the page has what it is there for.
func TestPageTells(t *testing.T) {
	_, h := seen(t, grave())
	html := get(t, h, "/ops/live?lang=fr").Body.String()
	for part, wants := range map[string][]string{
		"summary":      {"points demandent votre attention", "Le nœud n3 ne répond pas.", "cigogne cluster remove n3", "constaté par n1", "Ramenez-les.", "too few &lt;nodes&gt;", "Instances mises de côté\u00a0: 21", "Le contrôle «\u00a0unheard\u00a0» échoue", "Le disque de n1, n2 est presque plein.", "Le certificat de n1, n2 a expiré.", "arrivé de Lost", "Depuis plus d’une heure, le DMP", "par le DMP\u00a0: 3", "Ce que n1, n2 a reçu attend"},
		"nodes":        {`data-node="n3" data-answers="false"`, "ne répond pas", "dirige", "en vidange", "100\u00a0Go sur 100\u00a0Go", "plein dans"},
		"flow":         {"Reçu", "Restitué", "5,0\u00a0Mo/s", "moyenne par minute"},
		"work":         {"12\u202f345", "Mise en paquets", "5,0\u00a0Go", "quelques-uns", "refused", "des examens", "Publication (DMP)", "9 not taken"},
		"archives":     {"s3://bucket", "dir:///backup", "échecs\u00a0: 3"},
		"senders":      {"Clinique &lt;A&gt;", "FINESS 670000025", "PACS_A", "jetons\u00a0: 2", "il y a", "jamais"},
		"overdue":      {"1.2.3", "pas en paquet", "il y a 3\u00a0jours"},
		"conflicts":    {"1.2.3.4", "autre contenu", "autre patient", "Les 2 plus récentes sur 21", "annulables\u00a0: 4\u202f; gels\u00a0: 17"},
		"certificates": {"autorité de la grappe", "expiré", "dans 9\u00a0jours"},
	} {
		m := regexp.MustCompile(`(?s)<section id="` + part + `".*?</section>`).FindString(html)
		for _, want := range wants {
			if !strings.Contains(m, want) {
				t.Errorf("%s does not have %q:\n%s", part, want, m)
			}
		}
	}
	if w := get(t, h, "/ops", "Accept-Language", "de-CH, fr;q=0.5"); w.Header().Get("Content-Language") != "de" || !strings.Contains(w.Body.String(), `hx-get="/ops/live?lang=de"`) {
		t.Errorf("%v:\n%s", w.Header(), w.Body)
	}
	if html := get(t, h, "/ops/live?lang=en").Body.String(); !strings.Contains(html, "100\u00a0GB of 100\u00a0GB") {
		t.Error("sizes are not as English has them")
	}
}

// TestFiles: the page's files are there under the addresses that it names, and
// kept; each of others has its licence beside it.
func TestFiles(t *testing.T) {
	_, h := seen(t, calm())
	html := get(t, h, "/ops").Body.String()
	found := regexp.MustCompile(`"(/ops/static/[^"]+)"`).FindAllStringSubmatch(html, -1)
	if len(found) < 6 {
		t.Fatalf("%v", found)
	}
	for _, m := range found {
		w := get(t, h, m[1])
		if w.Code != http.StatusOK || w.Body.Len() == 0 || !strings.Contains(w.Header().Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d, %v", m[1], w.Code, w.Header())
		}
		if strings.HasSuffix(m[1], ".js") && strings.Contains(w.Body.String(), "sourceMappingURL") {
			t.Errorf("%s asks for a map", m[1])
		}
	}
	for _, licence := range []string{"htmx.LICENSE", "uPlot.LICENSE"} {
		if w := get(t, h, "/ops/static/"+licence); w.Code != http.StatusOK {
			t.Errorf("%s: %d", licence, w.Code)
		}
	}
	if w := get(t, h, "/ops/nothing"); w.Code != http.StatusNotFound || w.Header().Get("Content-Security-Policy") == "" {
		t.Errorf("%d, %v", w.Code, w.Header())
	}
}

// TestOperation: who looks at the page oversees.
func TestOperation(t *testing.T) {
	for path, want := range map[string]access.Operation{"/ops": access.Oversee, "/ops/live": access.Oversee, "/ops/static/ops.css": access.Observe} {
		if got := Operation(httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)); got != want {
			t.Errorf("%s is %s", path, got)
		}
	}
}

// TestANodeDies: it is shown with what was known of it, as seen by whom; one
// answer that is late is nothing yet. When it is back, all is well.
func TestANodeDies(t *testing.T) {
	r := calm()
	d, h := seen(t, r)
	picture := func() string {
		d.picture = Picture{} // as if it were long ago
		return get(t, h, "/ops/live?lang=en").Body.String()
	}
	if html := picture(); !strings.Contains(html, "All is well.") {
		t.Fatalf("%s", html)
	}
	r.kill("n2", fmt.Errorf("too late: %w", context.DeadlineExceeded))
	d.look(t.Context())
	if s := d.report().Sees[0]; !s.Reached {
		t.Errorf("one late answer: %+v", s)
	}
	d.look(t.Context())
	if s := d.report().Sees[0]; s.Node != "n2" || s.Reached || s.Why == "" {
		t.Errorf("two late answers: %+v", s)
	}
	if html := picture(); !strings.Contains(html, "Some nodes do not reach n2.") { // n3 says that it does
		t.Errorf("%s", html)
	}
	r.kill("n2", errors.New("connection refused"))
	other := r.reports["n3"]
	other.Sees[1] = Sight{Node: "n2", Why: "connection refused", Since: time.Now()}
	html := picture()
	for _, want := range []string{"Node n2 does not answer.", "seen by n1, n3", "last heard of", `title="(1) Cigogne`} {
		if !strings.Contains(html, want) {
			t.Errorf("no %q:\n%s", want, html)
		}
	}
	r.kill("n2", nil)
	other.Sees[1] = Sight{Node: "n2", Reached: true, Since: time.Now()}
	d.look(t.Context())
	if html := picture(); !strings.Contains(html, "All is well.") {
		t.Errorf("%s", html)
	}
}

// TestRun: a desk that runs has looked and examined by itself, and leaves
// nothing running.
func TestRun(t *testing.T) {
	d := NewDesk(self{grave()}, grave())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(30 * time.Second)
	for {
		p := d.Picture(t.Context())
		own := p.Nodes[0].Report
		if len(own.Sees) == 2 && len(own.Checks) == 3 && len(own.Archives) == 2 && len(p.Overdue) == 2 {
			break
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%+v", p)
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestPictureIsShared: however many look, the nodes are asked once a second or
// so.
func TestPictureIsShared(t *testing.T) {
	r := calm()
	_, h := seen(t, r)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { get(t, h, "/ops/live") })
	}
	all.Wait()
	if r.asked > 2*4 { // two nodes; a busy machine may take some seconds
		t.Errorf("they were asked %d times", r.asked)
	}
}

// TestAlone: a node without a cluster has the page, too.
func TestAlone(t *testing.T) {
	r := calm()
	one := r.reports["n1"]
	one.Sees, one.Certificates, one.Standing = nil, nil, Standing{State: "alone"}
	r.reports["n1"] = one
	d := NewDesk(self{r}, nil)
	d.examine(t.Context())
	d.overlook(t.Context())
	d.look(t.Context())
	h, err := Handler(d, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	html := get(t, h, "/ops?lang=en").Body.String()
	if !strings.Contains(html, "All is well.") || !strings.Contains(html, "stands alone") || strings.Contains(html, "Reached by</th>\n      <th role=\"columnheader\" scope=\"col\">Lag") {
		t.Errorf("%s", html)
	}
	wellFormed(t, "alone", html)
}

// FuzzReport: whatever another node says, the page can be made.
func FuzzReport(f *testing.F) {
	for _, r := range calm().reports {
		b, err := json.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"recent":{"step":2,"end":9223372036854775807,"received":[1],"sent":[1,2,3]},"day":{"step":0,"end":-1}}`))
	f.Add([]byte(`{"standing":{"state":"x","applied":18446744073709551615,"heard":1e300},"disk":{"used":-5,"most":1,"full":"9999-01-01T00:00:00Z"}}`))
	r := calm()
	d := NewDesk(self{r}, r)
	h, err := Handler(d, slog.New(slog.DiscardHandler))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var other Report
		if json.Unmarshal(b, &other) != nil {
			return
		}
		r.reports["n2"] = other
		for _, path := range []string{"/ops/live?lang=fr", "/ops?window=day"} {
			d.picture = Picture{}
			if w := get(t, h, path); w.Code != http.StatusOK {
				t.Fatalf("%s: %d", path, w.Code)
			}
		}
	})
}
