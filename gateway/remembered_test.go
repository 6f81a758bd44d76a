package gateway

import (
	"strconv"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
)

// What is remembered is bounded, whatever is asked for, and the last stays.
func TestWhatIsRememberedIsBounded(t *testing.T) {
	l := newLayouts()
	for n := range 2 * layoutsMost {
		id := layoutID{digest: storage.Digest{byte(n), byte(n >> 8), byte(n >> 16), 1}}
		l.put(id, &dicom.Layout{Frames: &dicom.Frames{Fragments: make([]storage.Range, n%300)}})
		if l.get(id) == nil || l.bytes > layoutBytes || l.bytes < 0 {
			t.Fatalf("layout %d: %d bytes are remembered", n, l.bytes)
		}
	}
	huge := layoutID{digest: storage.Digest{2}}
	if l.put(huge, &dicom.Layout{Frames: &dicom.Frames{Fragments: make([]storage.Range, layoutBytes/16)}}); l.get(huge) != nil {
		t.Error("a layout took the place of all others")
	}

	p := newPlaces(nil)
	for n := range 3 * placesSeries {
		live := make([]index.LiveInstance, n%400)
		for i := range live {
			live[i].Key.SOPInstanceUID = strconv.Itoa(i)
		}
		id := seriesID{strconv.Itoa(n), ""}
		p.put(id, newPlace(1, live, nil))
		if known, _ := p.get(id, 1); known == nil || p.kept > placesMost || p.kept < 0 || p.lru.Len() > placesSeries {
			t.Fatalf("series %d: %d instances of %d series are remembered", n, p.kept, p.lru.Len())
		}
	}
	p.put(seriesID{"long", ""}, newPlace(1, make([]index.LiveInstance, placesOfOne+1), nil))
	if known, due := p.get(seriesID{"long", ""}, 1); known != nil || due {
		t.Error("a series is remembered that is too long")
	}
}

// A long series that instances are added to is not read again and again.
func TestPlacesAreReadWhenTheyAreWorthIt(t *testing.T) {
	p := newPlaces(nil)
	id := seriesID{"1", "2"}
	reads := 0
	for version := range uint64(400) {
		if _, due := p.get(id, version/2); due {
			reads++
			p.put(id, newPlace(version/2, make([]index.LiveInstance, 1000), nil))
		}
	}
	if reads != 1 {
		t.Errorf("1000 instances were read %d times for 400 that were asked for", reads)
	}
}
