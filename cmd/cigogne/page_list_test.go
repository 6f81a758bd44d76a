package main

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// TestPageListsOneQuestion: what is in the table is of one question, whatever
// is in the form meanwhile and whatever fails; patients of two sites with one
// PatientID can be told apart; and the page says how many there are in the
// language that was chosen.
func TestPageListsOneQuestion(t *testing.T) {
	if testing.Short() {
		t.Skip("looks at a page")
	}
	t.Parallel()
	tool(t, "chromium")
	node := serve(t, t.TempDir(), "--sites", region(t), "--log-level", "error")
	const many = 51 // more than one page
	var files [][]byte
	for i := range many {
		files = append(files, studyOf(uint64(1300+i), "ABEL", fmt.Sprint("A", i)).Instances[0].Part10())
	}
	if status, _, err := stow(t.Context(), node.web, files...); err != nil || status != http.StatusOK {
		t.Fatalf("%d, %v", status, err)
	}
	for i, site := range []string{"HTP_PACS", "COL_PACS"} {
		sendAs(t, node, site, studyOf(uint64(1400+i), "ZOE", "4711"), "F")
	}
	p := openTab(t, node.web+"/?lang=en", 1280, 900)
	const rows = `document.querySelectorAll("#studies tr").length`
	p.ask("ABEL")
	p.within("a page of the question", rows+` === 50 && !document.getElementById("more").hidden`)
	p.is(`document.querySelector("[name=PatientName]").value = "ZOE", document.getElementById("more").click(), true`)
	p.within("the rest of it", rows+` > 50`)
	if n := p.text(`String(` + rows + `)`); n != strconv.Itoa(many) || p.is(`document.getElementById("studies").innerText.includes("ZOE")`) {
		t.Errorf("the list of ABEL goes on with another: %s rows, the last of which is %s", n, p.text(`document.querySelector("#studies tr:last-child").innerText`))
	}

	p.ask("ZOE")
	p.within("two of two sites", rows+` === 2`)
	text := p.text(`document.getElementById("studies").innerText`)
	for _, issuer := range []string{"HUS", "HCC"} {
		if !strings.Contains(text, issuer) {
			t.Errorf("nothing says that a patient is of %s: %q", issuer, text)
		}
	}
	p.languagesOfTheList()

	node.kill()
	p.ask("ABEL")
	p.within("the search failed", `/^Die Suche ist fehlgeschlagen/.test(document.getElementById("state").textContent)`)
	if !p.is(rows + ` === 0 && document.getElementById("more").hidden`) {
		t.Errorf("under a question without an answer are %q", p.text(`document.getElementById("studies").innerText`))
	}
}

func studyOf(seed uint64, name, id string) dicomtest.Study {
	return dicomtest.NewStudy(dicomtest.Options{Seed: seed, Modality: "CR", Instances: 1, PatientName: name, PatientID: id})
}

// ask searches for a name.
func (p *tab) ask(name string) {
	p.t.Helper()
	p.is(fmt.Sprintf(`document.querySelector("[name=PatientName]").value = %q, document.getElementById("search").requestSubmit(), true`, name))
}

// languagesOfTheList looks at how many there are, two and one, in each
// language, at the names of what is not read but heard, and at where the page
// leads.
func (p *tab) languagesOfTheList() {
	p.t.Helper()
	for _, c := range []struct{ language, two, one, nav string }{
		{"en", "2 shown", "1 shown", "Language"}, {"fr", "2 affichés", "1 affiché", "Langue"}, {"de", "2 angezeigt", "1 angezeigt", "Sprache"},
	} {
		p.is(fmt.Sprintf(`document.querySelector("nav button[lang=%s]").click(), true`, c.language))
		for id, want := range map[string]string{"": c.two, "A50": c.one} {
			p.is(fmt.Sprintf(`document.querySelector("[name=PatientID]").value = %q, true`, id))
			p.ask(map[string]string{"": "ZOE", "A50": "ABEL"}[id])
			p.within(c.language+" says "+want, fmt.Sprintf(`document.getElementById("state").textContent === %q`, want))
		}
		p.is(`document.querySelector("[name=PatientID]").value = "", true`)
		if !p.is(fmt.Sprintf(`document.querySelector("nav").getAttribute("aria-label") === %q && document.querySelector("header > a").search === "?lang=%s"`, c.nav, c.language)) {
			p.t.Errorf("%s: %s", c.language, p.text(`document.querySelector("header").outerHTML`))
		}
	}
}
