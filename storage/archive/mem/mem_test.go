package mem_test

import (
	"testing"

	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/archive/archivetest"
	"github.com/esante-alsace/cigogne/storage/archive/mem"
)

func open(testing.TB) archive.Archive { return mem.New() }

func TestArchive(t *testing.T) { archivetest.Run(t, open) }

func BenchmarkArchive(b *testing.B) { archivetest.Bench(b, open) }
