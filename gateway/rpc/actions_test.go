package rpc

import (
	"errors"
	"fmt"
	"regexp"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
)

// TestActions: whatever fails, an operator is told what to do, in each of the
// languages and in that one; what is meant for a certain failure comes before
// what is meant for all.
func TestActions(t *testing.T) {
	for _, a := range advices() {
		if a.en == "" || a.fr == "" || a.de == "" || a.en == a.fr || a.en == a.de || a.fr == a.de {
			t.Errorf("%s, %v: not in three languages", a.check, a.when)
		}
		if found := regexp.MustCompile(`'| [:;?!»]|« `).FindString(a.en + a.fr + a.de); found != "" {
			t.Errorf("%s, %v: %q: write ’, and spaces that do not break", a.check, a.when, found)
		}
		err := a.when
		if err == nil {
			err = errors.New("something")
		}
		for language, want := range map[string]string{"en": a.en, "fr": a.fr, "de": a.de, "xx": a.en, "": a.en} {
			if got := Action(a.check, fmt.Errorf("wrapped: %w", err), language); got != want {
				t.Errorf("%s, %v, %q: %q, want %q", a.check, err, language, got, want)
			}
		}
	}
	if Action("unheard of", storage.ErrFull, "fr") == "" {
		t.Error("nothing to do about an unknown check")
	}
}
