package manifest_test

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/esante-alsace/cigogne/gateway/dmp/manifest"
	"github.com/esante-alsace/cigogne/storage"
)

// TestListsOfNothing: a text of lists of nothing is no way to fill the memory,
// neither as long as it may be nor of as many elements.
func TestListsOfNothing(t *testing.T) {
	const most = 512 << 20 // that is made, of which half is held
	for name, parts := range map[string][3]string{
		"identifiers": {`{"resourceType":"ImagingStudy","identifier":[`, `{}`, `]}`},
		"numbers":     {`{"resourceType":"ImagingStudy","identifier":[`, `0`, `]}`},
		"series":      {`{"resourceType":"ImagingStudy","series":[`, `{}`, `]}`},
		"instances":   {`{"resourceType":"ImagingStudy","series":[{"uid":"1.2","instance":[`, `{}`, `]}]}`},
		"resources":   {`{"resourceType":"Bundle","entry":[`, `{}`, `]}`},
	} {
		for _, n := range []int{(manifest.ListingBytes - 200) / (len(parts[1]) + 1), 7 * manifest.ListingInstances} {
			text := []byte(parts[0] + strings.Repeat(parts[1]+",", n-1) + parts[1] + parts[2])
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := manifest.ReadImagingStudy(text)
			runtime.ReadMemStats(&after)
			if !errors.Is(err, storage.ErrTooLarge) && !errors.Is(err, storage.ErrInvalid) {
				t.Errorf("%s: %v", name, err)
			}
			if took := after.TotalAlloc - before.TotalAlloc; took > most {
				t.Errorf("%s: %d MiB to read %d MiB", name, took>>20, len(text)>>20)
			}
		}
	}
}
