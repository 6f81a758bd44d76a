package main

import (
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// TestPage: the page and its files say that they load nothing from elsewhere,
// and every text has its words in every language.
func TestPage(t *testing.T) {
	t.Parallel()
	node := serve(t, t.TempDir(), "--log-level", "error")
	html, scripts := asset(t, node, "/"), asset(t, node, "/studies.js")+asset(t, node, "/words.js")
	if found := regexp.MustCompile(`(?i)(https?:)?//[a-z0-9]|<script[^>]*>[^<]|\son[a-z]+=|style="`).FindString(html); found != "" {
		t.Errorf("the page has %q, which its policy forbids", found)
	}
	if found := regexp.MustCompile(`https?://`).FindString(scripts); found != "" {
		t.Errorf("a script has %q", found)
	}
	keys := wordKeys(t, asset(t, node, "/words.js"))
	for language, words := range keys {
		if !slices.Equal(words, keys["en"]) {
			t.Errorf("%s has the words %v, en %v", language, words, keys["en"])
		}
	}
	for _, language := range []string{"en", "fr", "de"} {
		if keys[language] == nil {
			t.Errorf("no words in %s", language)
		}
	}
	for _, m := range regexp.MustCompile(`data-text="(\w+)"`).FindAllStringSubmatch(html, -1) {
		if !slices.Contains(keys["en"], m[1]) {
			t.Errorf("the page uses the word %q, which is none", m[1])
		}
	}
	node.stop()
}

// asset gets one file of the page and checks its policy.
func asset(t *testing.T, node *process, path string) string {
	t.Helper()
	answer, err := http.Get(node.web + path)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", path, answer.Status, err)
	}
	policy := answer.Header.Get("Content-Security-Policy")
	if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") ||
		!strings.Contains(policy, "frame-ancestors 'none'") || answer.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%s has the headers %v", path, answer.Header)
	}
	return string(b)
}

// wordKeys are the sorted keys of each language.
func wordKeys(t *testing.T, js string) map[string][]string {
	t.Helper()
	keys := map[string][]string{}
	for _, m := range regexp.MustCompile(`(?ms)^  (\w\w): \{(.*?)^  \},`).FindAllStringSubmatch(js, -1) {
		texts := regexp.MustCompile(`"(?:[^"\\]|\\.)*"`).ReplaceAllString(m[2], `""`)
		for _, k := range regexp.MustCompile(`(\w+): ""`).FindAllStringSubmatch(texts, -1) {
			keys[m[1]] = append(keys[m[1]], k[1])
		}
		slices.Sort(keys[m[1]])
	}
	return keys
}

// TestPageInBrowser: a study that was pushed is in the table, its name with
// its accents, in the language that is asked for.
func TestPageInBrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a browser; TestPage asks for the same page")
	}
	t.Parallel()
	chromium := tool(t, "chromium")
	node := serve(t, t.TempDir(), "--log-level", "error")
	in := dicomtest.NewStudy(dicomtest.Options{
		Seed: 1200, Modality: "CR", Instances: 1, PatientName: "M\xfcller^H\xe9l\xe8ne", PatientID: "<b>4711", CharacterSet: "ISO_IR 100",
	}).Instances[0]
	if status, _, err := stow(t.Context(), node.web, in.Part10()); err != nil || status != http.StatusOK {
		t.Fatalf("%d, %v", status, err)
	}
	profile, err := os.MkdirTemp("", "cigogne-page") // not t.TempDir: the browser's children may outlive it a little
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(profile)
	for language, word := range map[string]string{"fr": "Examens", "de": "Untersuchungen", "en": "Studies"} {
		dom := browse(t, chromium, profile, node.web+"/?lang="+language)
		for _, want := range []string{
			"Müller Hélène", "&lt;b&gt;4711", `data-study="` + in.StudyInstanceUID + `"`, `<html lang="` + language + `"`, word,
		} {
			if !strings.Contains(dom, want) {
				t.Errorf("%s: the page does not have %q:\n%s", language, want, tail(dom, 3000))
			}
		}
	}
	node.stop()
}

// browse returns the document as it is once its scripts have run. Every name
// but the node's resolves to nothing.
func browse(t *testing.T, chromium, profile, at string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hangs)
	defer cancel()
	cmd := exec.CommandContext(ctx, chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--user-data-dir="+profile,
		"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--virtual-time-budget=10000", "--dump-dom", at)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("chromium: %v", err)
	}
	return string(out)
}
