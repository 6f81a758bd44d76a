package gateway_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage/archive/mem"
	"github.com/esante-alsace/cigogne/storage/index"
)

// TestRebuildTellsWhatIsMissed: what the index before had, and neither archives
// nor journal have, is told of; while they have all, nothing is.
func TestRebuildTellsWhatIsMissed(t *testing.T) {
	a := mem.New()
	k := keep(t, open(t, t.TempDir(), a), a)
	kept, deleted := tiny(1, 2), tiny(2, 2)
	k.mustStore(kept.Instances...)
	k.mustStore(deleted.Instances...)
	k.pass()
	k.delete(deleted.StudyInstanceUID)
	if _, err := k.custodian.Hold(t.Context(), "court", gateway.Request{StudyInstanceUID: kept.StudyInstanceUID, By: "odile", Why: "asked for"}); err != nil {
		t.Fatal(err)
	}
	missed := func() (told []string) {
		t.Helper()
		done, err := rebuildInto(t, gateway.RebuildOptions{Archives: k.each, Journal: k.journal, Before: k.index, Problem: func(what string) { told = append(told, what) }})
		if err != nil || done.Problems != len(told) {
			t.Errorf("%+v, %v", done, err)
		}
		return told
	}
	if told := missed(); told != nil {
		t.Errorf("nothing is missed: %q", told)
	}
	if err := k.patients().Oppose(t.Context(), index.PatientKey{Issuer: "HUS", PatientID: "4711"}, true, "chief", ""); err != nil {
		t.Fatal(err)
	}
	for _, key := range objects(t, a, "") {
		if err := a.Remove(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	told := missed()
	for _, want := range []string{
		"studies/" + kept.StudyInstanceUID + "/", "of study " + deleted.StudyInstanceUID + ": no archive tells of it",
		"holds and retention of study " + kept.StudyInstanceUID, "about an identity (opposed)",
	} {
		if !slices.ContainsFunc(told, func(what string) bool { return strings.Contains(what, want) }) {
			t.Errorf("%q is not told: %q", want, told)
		}
	}
}

// TestRebuildTellsThatItCannotLook: an index before that cannot be read does
// not end the rebuild, and does not pass for one that had nothing more.
func TestRebuildTellsThatItCannotLook(t *testing.T) {
	a := mem.New()
	k := keep(t, open(t, t.TempDir(), a), a)
	k.mustStore(tiny(1, 2).Instances...)
	k.pass()
	before, err := index.Open(t.Context(), index.Options{Path: filepath.Join(t.TempDir(), "index.db")})
	if err != nil {
		t.Fatal(err)
	}
	if err := before.Close(); err != nil {
		t.Fatal(err)
	}
	var told []string
	done, err := rebuildInto(t, gateway.RebuildOptions{Archives: k.each, Journal: k.journal, Before: before, Problem: func(what string) { told = append(told, what) }})
	if err != nil || done.Problems == 0 || !strings.Contains(strings.Join(told, ""), "not looked at") {
		t.Errorf("%+v, %v, told %q", done, err, told)
	}
}
