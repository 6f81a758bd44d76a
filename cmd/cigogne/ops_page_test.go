package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// tab is a page in a real browser.
type tab struct {
	t   *testing.T
	ctx context.Context
	// said is what the console said, which is nothing on a sound page.
	said func() []string
}

// openTab opens a page in a browser of its own. Every name but this machine's
// resolves to nothing.
func openTab(t *testing.T, at string, width, height int64) *tab {
	t.Helper()
	chromium := tool(t, "chromium")
	profile, err := os.MkdirTemp("", "cigogne-ops") // not t.TempDir: the browser's children may outlive it a little
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(profile) })
	allocator, end := chromedp.NewExecAllocator(t.Context(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(chromium), chromedp.UserDataDir(profile), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"))...)
	t.Cleanup(end)
	ctx, leave := chromedp.NewContext(allocator)
	t.Cleanup(leave)
	p := &tab{t: t, ctx: ctx}
	p.do(chromedp.Navigate("about:blank"), chromedp.EmulateViewport(width, height))
	messages := make(chan string, 1000)
	heard := chromedp.Console(ctx)
	go func() { // it ends with ctx
		for m, err := range heard {
			if err != nil {
				return
			}
			select {
			case messages <- fmt.Sprintf("%s: %s", m.Type, m.Text):
			default:
			}
		}
	}()
	p.said = func() (all []string) {
		for {
			select {
			case m := <-messages:
				all = append(all, m)
			default:
				return all
			}
		}
	}
	p.do(chromedp.Navigate(at))
	return p
}

func (p *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	if err := chromedp.Do(p.ctx, steps...); err != nil {
		p.t.Fatal(err)
	}
}

// is evaluates a condition.
func (p *tab) is(js string) bool {
	p.t.Helper()
	ok, err := p.holds(js)
	if err != nil {
		p.t.Fatalf("%s: %v", js, err)
	}
	return ok
}

func (p *tab) holds(js string) (bool, error) {
	return chromedp.Run(p.ctx, chromedp.Evaluate[bool](js))
}

func (p *tab) text(js string) string {
	p.t.Helper()
	s, err := chromedp.Run(p.ctx, chromedp.Evaluate[string](js))
	if err != nil {
		p.t.Fatalf("%s: %v", js, err)
	}
	return s
}

// within waits until a condition holds, and tells how long that took. While a
// page gives way to another, which ends what was asked of it, none does.
func (p *tab) within(what, js string) time.Duration {
	p.t.Helper()
	began := time.Now()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := p.holds(js)
		switch {
		case ok && err == nil:
			return time.Since(began)
		case time.Since(began) <= hangs && p.ctx.Err() == nil:
			<-tick.C
		case err != nil:
			p.t.Fatalf("not within %s: %s: %v", hangs, what, err)
		default:
			p.t.Fatalf("not within %s: %s\n%s", hangs, what, p.text("document.body.innerText"))
		}
	}
}

// TestOpsPage: three nodes in a real browser. What is pushed to one shows at
// another, a leader that is killed is shown, and comes back;
// the page is in three languages, on a phone, and for a keyboard; and says so
// when its own node dies.
func TestOpsPage(t *testing.T) {
	if testing.Short() {
		t.Skip("looks at a page")
	}
	t.Parallel()
	tool(t, "chromium")
	r := newRegion(t)
	for _, id := range []string{"n1", "n2", "n3"} {
		r.start(id, "--log-level", "error")
	}
	r.voting()
	leads := r.leader("n1")
	shows := map[string]string{"n1": "n2", "n2": "n3", "n3": "n1"}[leads]
	p := openTab(t, r.nodes[shows].web+"/ops?lang=en", 1280, 900)
	p.within("all is well", allWell)
	p.within("each is reached by the two others", `document.querySelectorAll("#nodes .chip.well").length === 6`)

	p.throughput(r.nodes[leads])
	r.nodes[leads].kill()
	took := p.within("the dead node is shown", fmt.Sprintf(`document.getElementById("node-%s")?.dataset.answers === "false" && document.getElementById("summary").classList.contains("trouble")`, leads))
	t.Logf("a killed leader was shown after %s", took)
	for _, want := range []string{"Node " + leads + " does not answer.", "cigogne cluster remove " + leads} {
		if !p.is(fmt.Sprintf(`document.getElementById("summary").innerText.includes(%q)`, want)) {
			t.Errorf("no %q in %s", want, p.text(`document.getElementById("summary").innerText`))
		}
	}
	p.within("it is seen by both others", fmt.Sprintf(`document.querySelectorAll("#node-%s .chip.trouble").length === 2`, leads))
	p.within("another leads", `document.querySelectorAll("#nodes .badge.lead").length === 1`)
	r.start(leads, "--log-level", "error")
	p.within("it is back, and all is well", allWell)

	p.languages()
	p.keyboard()
	p.phone()
	if said := p.said(); said != nil {
		t.Errorf("the console says: %s", strings.Join(said, "\n"))
	}

	// When its own node dies the page says that it is old.
	r.nodes[shows].kill()
	p.within("the page says that it is old", `!document.getElementById("stale").hidden && document.body.classList.contains("old")`)
}

// allWell: three nodes answer, and nothing is to be done.
const allWell = `document.getElementById("summary").classList.contains("well") && document.querySelectorAll("[data-answers=true]").length === 3`

// throughput pushes to a node and retrieves from it, which the page of another
// shows.
func (p *tab) throughput(node *process) {
	t := p.t
	t.Helper()
	study := dicomtest.NewStudy(dicomtest.Options{Seed: 77, Modality: "CT", Instances: 4})
	a, err := associate(t.Context(), node.dimse, 4, study.Instances...)
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range study.Instances {
		if err := cstore(t.Context(), a, in, in.Reader()); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.within("the sender is shown with what it sent", `[...document.querySelectorAll("[data-sender=TESTER]")].some(e => e.innerText.includes("4") && /ago|just now/.test(e.innerText))`)
	body, err := get(t.Context(), node.web+"/dicom-web/studies/"+study.Instances[0].StudyInstanceUID, "application/zip")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, body); err != nil {
		t.Fatal(err)
	}
	body.Close()
	for _, plot := range []string{"received", "sent"} {
		p.within("throughput is plotted: "+plot, fmt.Sprintf(`JSON.parse(document.getElementById("plot-%s").dataset.plot).slice(1).flat().some(v => v > 0) && document.querySelector("#plot-%[1]s canvas") !== null`, plot))
	}
}

// languages switches through them.
func (p *tab) languages() {
	p.t.Helper()
	for language, title := range map[string]string{"fr": "Exploitation", "de": "Betrieb", "en": "Operations"} {
		p.do(chromedp.Click(chromedp.CSS(`.languages a[lang="` + language + `"]`)))
		p.within(language, fmt.Sprintf(`document.readyState === "complete" && document.documentElement.lang === %q && document.querySelector("h1").innerText === %q`, language, title))
		p.do(chromedp.Evaluate[chromedp.Void](`htmx.trigger("#live", "every")`))
		p.within("the fragments are in "+language, fmt.Sprintf(`document.title.endsWith(%q)`, title))
	}
}

// keyboard goes through the page with Tab: everything that can be acted on is
// reached, shows its focus, and keeps it while the page is renewed.
func (p *tab) keyboard() {
	p.t.Helper()
	p.do(chromedp.Evaluate[chromedp.Void](`document.activeElement.blur(); scrollTo(0, 0)`))
	reached := map[string]bool{}
	for range 60 {
		p.do(chromedp.KeyEvent(kb.Tab))
		name := p.text(`(() => { const e = document.activeElement; return e.matches(".skip") ? "skip" : e.closest(".languages") ? "language" : e.closest(".switch") ? "window" : e.matches("summary") ? "table" : e.closest("footer") ? "footer" : e.tagName })()`)
		if name == "BODY" {
			break
		}
		reached[name] = true
		if !p.is(`document.activeElement.matches(":focus-visible") && getComputedStyle(document.activeElement).outlineStyle === "solid"`) {
			p.t.Errorf("the focus on %s cannot be seen", name)
		}
	}
	for _, want := range []string{"skip", "language", "window", "table", "footer"} {
		if !reached[want] {
			p.t.Errorf("Tab does not come to %s, only to %v", want, reached)
		}
	}
	p.do(chromedp.Focus(chromedp.CSS(`#table-received summary`)), chromedp.KeyEvent(kb.Enter))
	p.within("the table is open", `document.getElementById("table-received").open`)
	p.do(chromedp.Evaluate[chromedp.Void](`window.renewed = 0; document.getElementById("live").addEventListener("htmx:after:swap", () => window.renewed++)`))
	p.within("the page is renewed twice", `window.renewed >= 2`)
	if !p.is(`document.getElementById("table-received").open && document.activeElement.closest("#table-received") !== null`) {
		p.t.Error("the table does not stay open, or loses the focus, when the page is renewed")
	}
	if !p.is(`document.querySelectorAll("#table-received tbody tr").length > 0`) {
		p.t.Error("there is no table behind the plot")
	}
}

// phone narrows the page: nothing leads out of it to the side, in no language.
func (p *tab) phone() {
	p.t.Helper()
	p.do(chromedp.EmulateViewport(360, 740))
	for _, language := range []string{"en", "fr", "de"} {
		p.do(chromedp.Click(chromedp.CSS(`.languages a[lang="` + language + `"]`)))
		p.within(language, fmt.Sprintf(`document.readyState === "complete" && document.documentElement.lang === %q`, language))
		p.do(chromedp.Evaluate[chromedp.Void](`for (const d of document.querySelectorAll("details")) d.open = true`))
		if !p.is(`document.documentElement.scrollWidth <= 360`) {
			p.t.Errorf("%s: the page is wider than a phone: %s", language, p.text(`[...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > 360 && !e.closest(".scroll")).map(e => e.outerHTML.slice(0, 200)).join("\n")`))
		}
	}
}
