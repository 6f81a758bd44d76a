package gateway_test

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/archive/mem"
	"github.com/esante-alsace/cigogne/storage/archive/set"
	"github.com/esante-alsace/cigogne/storage/index"
)

// TestNotesExplain: what an archive keeps of a deletion can be read by a
// person.
func TestNotesExplain(t *testing.T) {
	a := mem.New()
	k := keep(t, open(t, t.TempDir(), a), a)
	study := tiny(1, 1)
	k.mustStore(study.Instances...)
	k.pass()
	k.delete(study.StudyInstanceUID)
	keys := objects(t, a, "deleted/"+study.StudyInstanceUID+"/")
	if len(keys) != 1 {
		t.Fatal(keys)
	}
	st, err := a.Stat(t.Context(), keys[0])
	if err != nil {
		t.Fatal(err)
	}
	body, err := a.Get(t.Context(), keys[0], storage.Range{Length: st.Size})
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	text, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"about": "What is listed here was deleted`, `"by": "odile"`, `"why": "sent twice"`, `"undoUntil": "2026-01-02T00:00:00Z"`, `"key": "studies/` + study.StudyInstanceUID} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the note does not say %s:\n%s", want, text)
		}
	}
}

// TestDamagedNote: a note that one archive cannot give is read from another;
// one that none can give ends a rebuild, which would show what it hides.
func TestDamagedNote(t *testing.T) {
	first, second := openDir(t), openDir(t)
	all, err := set.New([]archive.Archive{first, second}, set.Options{})
	if err != nil {
		t.Fatal(err)
	}
	k := keep(t, open(t, t.TempDir(), all), first, second)
	study := tiny(1, 2)
	k.mustStore(study.Instances...)
	k.pass()
	k.delete(study.StudyInstanceUID)
	for i, a := range k.each {
		key := objects(t, a, "deleted/")[0]
		if err := a.Remove(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Put(t.Context(), key, text("{")); err != nil {
			t.Fatal(err)
		}
		fresh, err := index.Open(t.Context(), index.Options{Path: filepath.Join(t.TempDir(), "index.db")})
		if err != nil {
			t.Fatal(err)
		}
		defer fresh.Close()
		done, err := gateway.Rebuild(t.Context(), gateway.RebuildOptions{Index: fresh, Archives: k.each, Journal: k.journal})
		if i == 0 && (err != nil || done.Problems != 1 || done.Deletions != 1) || i == 1 && !errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("with %d damaged: %+v, %v", i+1, done, err)
		}
	}
}

// text is a source of an object.
type text string

func (s text) Size() int64 { return int64(len(s)) }

func (s text) Open(_ context.Context, r storage.Range) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(string(s[r.Offset:r.End()]))), nil
}
