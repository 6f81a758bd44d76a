package ops

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestLanguage: what is asked for goes before what the browser likes.
func TestLanguage(t *testing.T) {
	for _, c := range []struct{ asked, accepted, want string }{
		{"", "", "en"}, {"de", "fr", "de"}, {"xx", "fr-CH, fr;q=0.9", "fr"}, {"", "es, de-AT;q=0.5", "de"}, {"", "\x00;;q", "en"}, {"", "ja", "en"},
	} {
		if got := choose(c.asked, c.accepted); got != c.want {
			t.Errorf("%q, %q: %s, want %s", c.asked, c.accepted, got, c.want)
		}
	}
}

// TestWords: the catalogues have the same keys with the same values in them,
// and each key that templates and code name.
func TestWords(t *testing.T) {
	all, err := loadWords()
	if err != nil {
		t.Fatal(err)
	}
	typewritten := regexp.MustCompile(`'| [:;?!»]|« `)
	counted := regexp.MustCompile(`\{n\} \pL`)
	values := func(text string) []string {
		found := regexp.MustCompile(`\{\w+\}`).FindAllString(text, -1)
		slices.Sort(found)
		return slices.Compact(found)
	}
	for _, l := range Languages() {
		for key, text := range all[l].texts {
			en, ok := all["en"].texts[key]
			if !ok || text == "" || !slices.Equal(values(en), values(text)) {
				t.Errorf("%s: %s is %q, and in English %q", l, key, text, en)
			}
			if counted.MatchString(text) && key != "headline.more" && key != "conflicts.more" && !strings.HasPrefix(key, "format.") {
				t.Errorf("%s: %s is %q, which is wrong of one", l, key, text)
			}
			if found := typewritten.FindString(text); found != "" && !strings.HasPrefix(key, "format.") {
				t.Errorf("%s: %s has %q: write ’, and spaces that do not break", l, key, found)
			}
		}
		if len(all[l].texts) != len(all["en"].texts) {
			t.Errorf("%s has %d words, en %d", l, len(all[l].texts), len(all["en"].texts))
		}
	}
	named := map[string]bool{}
	files, _ := filepath.Glob("templates/*.html")
	code, _ := filepath.Glob("*.go")
	for _, f := range append(files, code...) {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`\bT\(? ?"([^"]+)"|"((?:finding|action)\.[a-z.]+[a-z])"`).FindAllStringSubmatch(string(b), -1) {
			named[m[1]+m[2]] = true
		}
	}
	if len(named) < 80 {
		t.Fatalf("only %d words are named: is this test blind?", len(named))
	}
	for key := range named {
		if !all["en"].Has(key) {
			t.Errorf("there are no words for %q", key)
		}
	}
}

// TestNumbersOfFindings: a finding says how many as its language has it, and
// how long something waits is a sentence's part.
func TestNumbersOfFindings(t *testing.T) {
	all, err := loadWords()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC)
	for l, want := range map[string][2]string{"en": {"12,345", "3\u00a0days"}, "fr": {"12\u202f345", "3\u00a0jours"}, "de": {"12.345", "seit 3\u00a0Tagen"}} {
		v := &view{W: all[l], Picture: Picture{At: now}}
		if text := v.What(Finding{What: "finding.conflicts", Args: map[string]string{"n": "12345"}}); !strings.Contains(text, want[0]) {
			t.Errorf("%s: %q", l, text)
		}
		if text := v.W.T("work.for", "span", v.Waits(now.Add(-72*time.Hour))); text != want[1] {
			t.Errorf("%s: it waits %q", l, text)
		}
	}
}
