package puller_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/cmd/cigogne/puller"
	"github.com/esante-alsace/cigogne/gateway/dicomweb"
	"github.com/esante-alsace/cigogne/storage"
)

// TestDamageOnTheDiskIsFound: what a pull finds is not believed for its name.
func TestDamageOnTheDiskIsFound(t *testing.T) {
	f := newFake(t, sizes()...)
	o, compare := places(t)["folder"](f)
	if _, _, err := pull(t.Context(), f, o); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(o.Folder, study, "2.25.2", "2.25.100.dcm")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[mib/2]++
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	out, said, err := pull(t.Context(), f, o)
	if want := (puller.Outcome{Pulled: 1, Present: int64(len(sizes()) - 1)}); err != nil || out != want {
		t.Fatalf("%+v, %v, want %+v\n%s", out, err, want, said)
	}
	compare(t)
}

// TestNothingDamagedGetsAName: a gateway that gives other bytes than it says
// is found out, and leaves nothing under a final name.
func TestNothingDamagedGetsAName(t *testing.T) {
	for name, place := range places(t) {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, sizes()...)
			f.digests.Instances[6].Digest[0]++
			o, _ := place(f)
			if out, said, err := pull(t.Context(), f, o); !errors.Is(err, storage.ErrCorrupt) {
				t.Fatalf("%+v, %v\n%s", out, err, said)
			}
			for _, path := range []string{o.ZIP, filepath.Join(o.Folder, study, "2.25.2", "2.25.106.dcm")} {
				if _, err := os.Stat(path); path != "" && err == nil {
					t.Errorf("%s is there", path)
				}
			}
		})
	}
	f := newFake(t, 1000, 2000)
	copy(f.zip[len(f.zip)-100:], "garbage")
	if _, _, err := pull(t.Context(), f, puller.Options{ZIP: filepath.Join(t.TempDir(), "s.zip")}); !errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("a damaged directory: %v", err)
	}
}

// TestHostileDigests: what a gateway says never leads out of the folder.
func TestHostileDigests(t *testing.T) {
	for name, change := range map[string]func(d *dicomweb.Digests){
		"a path as UID":     func(d *dicomweb.Digests) { d.Instances[0].SOPInstanceUID = "../../x" },
		"a path as series":  func(d *dicomweb.Digests) { d.Instances[0].SeriesInstanceUID = ".." },
		"beyond the end":    func(d *dicomweb.Digests) { d.Instances[1].Size = 1 << 62 },
		"negative":          func(d *dicomweb.Digests) { d.Instances[0].Size = -1 },
		"over each other":   func(d *dicomweb.Digests) { d.Instances[1].Offset = d.Instances[0].Offset + 1 },
		"twice":             func(d *dicomweb.Digests) { d.Instances[1].SOPInstanceUID = d.Instances[0].SOPInstanceUID },
		"prefix beyond all": func(d *dicomweb.Digests) { d.Instances[0].Prefix = 1 << 40 },
		"none":              func(d *dicomweb.Digests) { d.Instances = nil },
	} {
		f := newFake(t, 1000, 2000)
		change(&f.digests)
		dir := t.TempDir()
		out, _, err := pull(t.Context(), f, puller.Options{Folder: dir})
		if !errors.Is(err, storage.ErrInvalid) {
			t.Errorf("%s: %+v, %v", name, out, err)
		}
		only(t, dir, 0)
	}
}

// TestRottenInstances: what the gateway cannot read is left out and told, and
// keeps nothing else from being pulled. Once it is mended a pull goes on.
func TestRottenInstances(t *testing.T) {
	for name, place := range places(t) {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, sizes()...)
			f.rotten = []int{0, 4, 5} // in the first ranges, in several, after another
			o, compare := place(f)
			out, said, err := pull(t.Context(), f, o)
			want := puller.Outcome{Pulled: int64(len(sizes()) - 3), Left: 3}
			if !errors.Is(err, puller.ErrLeftOut) || out != want || strings.Count(said, `"event":"leftout"`) != 3 {
				t.Fatalf("%+v, %v, want %+v\n%s", out, err, want, said)
			}
			if o.ZIP != "" {
				if _, err := os.Stat(o.ZIP); err == nil {
					t.Error("a ZIP file without them has the name")
				}
			}
			f.rotten = nil
			out, said, err = pull(t.Context(), f, o)
			if want := (puller.Outcome{Pulled: 3, Present: int64(len(sizes()) - 3)}); err != nil || out != want {
				t.Fatalf("mended: %+v, %v, want %+v\n%s", out, err, want, said)
			}
			compare(t)
		})
	}
}

// TestDamagedEachTime: an instance that never comes as it should keeps nothing
// else from being pulled.
func TestDamagedEachTime(t *testing.T) {
	f := newFake(t, sizes()...)
	f.digests.Instances[6].Digest[0]++
	o, _ := places(t)["folder"](f)
	out, said, err := pull(t.Context(), f, o)
	if want := (puller.Outcome{Pulled: int64(len(sizes()) - 1), Left: 1}); !errors.Is(err, puller.ErrLeftOut) || out != want {
		t.Fatalf("%+v, %v, want %+v\n%s", out, err, want, said)
	}
}
