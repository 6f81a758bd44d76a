package dir_test

import (
	"testing"

	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/archive/archivetest"
	"github.com/esante-alsace/cigogne/storage/archive/dir"
)

func open(t testing.TB) archive.Archive { return openWith(t) }

func openWith(t testing.TB, more ...func(*dir.Options)) archive.Archive {
	a, err := dir.Open(t.TempDir(), more...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

func TestArchive(t *testing.T) { archivetest.Run(t, open) }

func TestReadBack(t *testing.T) {
	archivetest.Run(t, func(t testing.TB) archive.Archive {
		return openWith(t, func(o *dir.Options) { o.ReadBack = true })
	})
}

func BenchmarkArchive(b *testing.B) { archivetest.Bench(b, open) }
