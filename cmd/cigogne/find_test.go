package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// ran runs a command that ends by itself, in this process.
func ran(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), args, nil, &o, &e)
	return code, o.String(), e.String()
}

func TestFind(t *testing.T) {
	t.Parallel()
	node := serve(t, t.TempDir(), "--settle", "1h", "--log-level", "error")
	var studies []dicomtest.Study
	for i, name := range []string{"Müller^Odile", "Muller^Jean", "Evil\x1b[2J^=cmd"} {
		s := dicomtest.NewStudy(dicomtest.Options{Seed: uint64(8400 + i), Modality: "CR", Instances: 2, PatientName: name})
		if !pushSTOW(t.Context(), node, newLedger(), s.Instances) {
			t.Fatal("push failed")
		}
		studies = append(studies, s)
	}
	find := func(args ...string) string {
		t.Helper()
		code, out, errs := ran(t, append([]string{"find", "--gateway", node.web}, args...)...)
		if code != exitOK {
			t.Fatalf("%q: exit code %d\n%s", args, code, errs)
		}
		return out
	}
	table := find("PatientName=mull*")
	if lines := strings.Split(strings.TrimSpace(table), "\n"); len(lines) != 3 || !strings.HasPrefix(lines[0], "PatientName ") ||
		!strings.Contains(table, "Müller^Odile ") || !strings.Contains(table, studies[1].StudyInstanceUID) {
		t.Errorf("as a table:\n%s", table)
	}
	if all := find(); strings.Contains(all, "\x1b") {
		t.Errorf("a name reaches the terminal as it is: %q", all)
	}
	rows, err := csv.NewReader(strings.NewReader(find("--csv", "--level", "instance", "--columns", "SOPInstanceUID,00100010",
		"StudyInstanceUID="+studies[0].StudyInstanceUID))).ReadAll()
	if err != nil || len(rows) != 3 || !slices.Equal(rows[0], []string{"SOPInstanceUID", "00100010"}) || rows[1][1] != "Müller^Odile" {
		t.Errorf("as CSV: %q, %v", rows, err)
	}
	if inside := find("OtherPatientIDsSequence.PatientID=4711"); strings.Count(inside, "\n") != 1 {
		t.Errorf("by what lies in a sequence:\n%s", inside)
	}
	for line := range strings.Lines(find("--json", "--level", "series", "--limit", "2")) {
		var ds map[string]struct{ Value []any }
		if err := json.Unmarshal([]byte(line), &ds); err != nil || len(ds["0020000E"].Value) != 1 {
			t.Errorf("as JSON: %s, %v", line, err)
		}
	}
	node.eventually("told", func() bool {
		_, out, _ := ran(t, "studies", "timeline", "--gateway", node.web, studies[0].StudyInstanceUID)
		return strings.Contains(out, "series "+studies[0].Instances[0].SeriesInstanceUID) && strings.Contains(out, "indexed")
	})
	if code, out, errs := ran(t, "studies", "timeline", "--json", "--gateway", node.web, studies[0].StudyInstanceUID); code != exitOK || !json.Valid([]byte(out)) {
		t.Errorf("timeline as JSON: exit code %d, %s%s", code, out, errs)
	}
	for want, args := range map[int][]string{
		exitUsage:       {"find", "Nonsense=1"},
		exitFailure:     {"find", "--gateway", node.web, "StudyDate=nonsense"},
		exitUnavailable: {"find", "--gateway", "http://127.0.0.1:1"},
	} {
		if code, _, errs := ran(t, args...); code != want || strings.Count(errs, "\n") != 1 {
			t.Errorf("%q: exit code %d, want %d: %s", args, code, want, errs)
		}
	}
}

// TestCompletion has bash complete, and the other shells read what is theirs.
func TestCompletion(t *testing.T) {
	bash := tool(t, "bash")
	_, script, _ := ran(t, "completion", "bash")
	for typed, want := range map[string]string{
		"cigogne pu":                    "push pull publications",
		"cigogne --config x push --req": "--request-size",
		"cigogne completion --h":        "--help",
	} {
		words := strings.Fields(typed)
		cmd := exec.CommandContext(t.Context(), bash, "-c",
			script+`COMP_WORDS=("$@"); COMP_CWORD=$(($#-1)); _cigogne; echo "${COMPREPLY[*]}"`, "bash")
		cmd.Args = append(cmd.Args, words...)
		out, err := cmd.CombinedOutput()
		got := strings.Fields(string(out))
		slices.Sort(got)
		if wanted := strings.Fields(want); err != nil || !slices.Equal(got, slices.Sorted(slices.Values(wanted))) {
			t.Errorf("%s: %s, %v; want %s", typed, out, err, want)
		}
	}
	for _, shell := range []string{"zsh", "fish"} {
		t.Run(shell, func(t *testing.T) {
			_, script, _ := ran(t, "completion", shell)
			if !strings.Contains(script, "push") {
				t.Errorf("%s", script)
			}
			cmd := exec.CommandContext(t.Context(), tool(t, shell), "-c", script)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}
