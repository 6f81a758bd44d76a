package manifest_test

import (
	"testing"

	"github.com/esante-alsace/cigogne/gateway/dmp/manifest"
)

// BenchmarkManifest makes all forms of a study of 2,000 instances.
func BenchmarkManifest(b *testing.B) {
	m := sample(2000)
	for b.Loop() {
		kos, err := m.DataSet()
		if err != nil {
			b.Fatal(err)
		}
		if _, err := m.ImagingStudy(); err != nil {
			b.Fatal(err)
		}
		if _, err := m.Submission(kos, manifest.DefaultCodes()); err != nil {
			b.Fatal(err)
		}
	}
}
