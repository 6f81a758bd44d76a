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
	said := whole(t, a, keys[0])
	for _, want := range []string{`"about": "What is listed here was deleted`, `"by": "odile"`, `"why": "sent twice"`, `"undoUntil": "2026-01-02T00:00:00Z"`, `"key": "studies/` + study.StudyInstanceUID} {
		if !strings.Contains(said, want) {
			t.Errorf("the note does not say %s:\n%s", want, said)
		}
	}
}

// TestDamagedNote: a note that one archive cannot give as it was put is read
// from another; one that none can give ends a rebuild, which would show what it
// hides.
func TestDamagedNote(t *testing.T) {
	for name, damage := range map[string]func(body, study string) string{
		"cut off":       func(string, string) string { return "{" },
		"another study": func(body, study string) string { return strings.ReplaceAll(body, study, study[:len(study)-1]+"0") },
	} {
		t.Run(name, func(t *testing.T) {
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
				damaged(t, a, "deleted/", func(body string) string { return damage(body, study.StudyInstanceUID) })
				done, err := rebuildInto(t, gateway.RebuildOptions{Archives: k.each, Journal: k.journal})
				if i == 0 && (err != nil || done.Problems != 1 || done.Deletions != 1) || i == 1 && !errors.Is(err, storage.ErrCorrupt) {
					t.Errorf("with %d damaged: %+v, %v", i+1, done, err)
				}
			}
		})
	}
}

// rebuildInto makes an index anew where no test looks at it.
func rebuildInto(t *testing.T, o gateway.RebuildOptions) (gateway.Rebuilt, error) {
	t.Helper()
	fresh, err := index.Open(t.Context(), index.Options{Path: filepath.Join(t.TempDir(), "index.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer fresh.Close()
	o.Index = fresh
	return gateway.Rebuild(t.Context(), o)
}

// damaged changes the first object that begins with the prefix.
func damaged(t *testing.T, a archive.Archive, prefix string, damage func(string) string) {
	t.Helper()
	key := objects(t, a, prefix)[0]
	was := whole(t, a, key)
	if damage(was) == was {
		t.Fatalf("%s is not damaged:\n%s", key, was)
	}
	if err := a.Remove(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Put(t.Context(), key, text(damage(was))); err != nil {
		t.Fatal(err)
	}
}

// whole is an object's bytes.
func whole(t *testing.T, a archive.Archive, key string) string {
	t.Helper()
	st, err := a.Stat(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	body, err := a.Get(t.Context(), key, storage.Range{Length: st.Size})
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	read, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return string(read)
}

// text is a source of an object.
type text string

func (s text) Size() int64 { return int64(len(s)) }

func (s text) Open(_ context.Context, r storage.Range) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(string(s[r.Offset:r.End()]))), nil
}
