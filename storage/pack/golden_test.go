package pack_test

import (
	"bytes"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/pack"
)

var update = flag.Bool("update", false, "write the golden pack of the current version")

// golden are the golden packs of the current version of the program. All of this
// version of the format that ever were stay in testdata and are opened for ever;
// -update must not be used on one that was released.
func golden() map[string]pack.Compression {
	return map[string]pack.Compression{
		"testdata/v3-none.zip":    pack.None,
		"testdata/v3-deflate.zip": pack.Deflate,
		"testdata/v3-zstd.zip":    pack.Zstd,
	}
}

// goldenMembers must never change: they are what every golden pack holds.
func goldenMembers() []pack.Member {
	members := ctSeries(3, 600, 400)
	members[0].Layout.Bulk = append(members[0].Layout.Bulk, dicom.Bulk{
		Path: "54000100.0.54001010", VR: "OW", Range: storage.Range{Offset: 10, Length: 30},
	})
	members[1].Layout = nil
	members[2].Layout = &dicom.Layout{Frames: &dicom.Frames{
		Count:         2,
		Fragments:     []storage.Range{{Offset: 80, Length: 20}, {Offset: 108, Length: 22}, {Offset: 138, Length: 40}},
		FirstFragment: []int{0, 2},
	}}
	return members
}

// goldenImages are those of the packs that are compressed: the small ones, and one
// that is compressed in two blocks. Most of it is plain, so that the file is
// small. They must never change either.
func goldenImages() []pack.Member {
	data := make([]byte, prefix+64+384<<10)
	rng := rand.New(rand.NewPCG(11, 12))
	for i := range data {
		data[i] = byte(i >> 12)
		if i%2 == 0 && i < 24<<10 {
			data[i] = byte(i>>7) + byte(rng.Uint32()&15)
		}
	}
	return append(goldenMembers(), member(4, data, attributesOf(4, 300)))
}

func goldenOf(c pack.Compression) []pack.Member {
	if c == pack.None {
		return goldenMembers()
	}
	return goldenImages()
}

func TestGoldenPacksOpenForEver(t *testing.T) {
	for file, c := range golden() {
		if *update {
			if err := os.WriteFile(file, read(t, build(t, pack.Options{Compression: c}, goldenOf(c))), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	files, err := filepath.Glob("testdata/v3-*.zip")
	if err != nil || len(files) < len(golden()) {
		t.Fatalf("golden packs are missing (%v)", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			stored, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			members := goldenMembers()
			if !strings.HasPrefix(filepath.Base(file), "v3-none") {
				members = goldenImages()
			}
			checkDirectory(t, stored, members)
			if found := problems(t, blob(stored)); len(found) != 0 {
				t.Error(found)
			}
			if !build(t, pack.Options{}, members).Matches(directory(t, blob(stored))) {
				t.Error("the pack that is built now does not match it")
			}
		})
	}
}

// TestBuildIsStable fails when the same members no longer give the same bytes
// as they did, as after a new version of a compression library. It is harmless
// for packs that are stored, but a pack that was planned before an update and
// put after it meets other bytes: see Pack.Matches. Then write a new golden
// pack under another name.
func TestBuildIsStable(t *testing.T) {
	for file, c := range golden() {
		stored, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if now := read(t, build(t, pack.Options{Compression: c}, goldenOf(c))); !bytes.Equal(now, stored) {
			t.Errorf("Build gives other bytes than %s", file)
		}
	}
}

// TestEarlierPacks: a pack that an earlier build wrote is named, and not called
// damaged.
func TestEarlierPacks(t *testing.T) {
	for _, file := range []string{"testdata/v1.zip", "testdata/v2-zstd.zip"} {
		stored, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pack.ReadDirectory(t.Context(), blob(stored)); !errors.Is(err, storage.ErrEarlierDigest) || errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("%s: %v, want storage.ErrEarlierDigest", file, err)
		}
		if found := problems(t, blob(stored)); len(found) != 1 || !strings.Contains(found[0], storage.ErrEarlierDigest.Error()) {
			t.Errorf("%s is verified: %q, want %q", file, found, storage.ErrEarlierDigest)
		}
	}
}
