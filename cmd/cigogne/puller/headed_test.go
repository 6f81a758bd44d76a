package puller

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/esante-alsace/cigogne/gateway/dicomweb"
)

// TestTheRecordOfALargeInstance is what a gateway writes before it, with its
// length in 64 bits.
func TestTheRecordOfALargeInstance(t *testing.T) {
	const crc, name = 0x01020304, "2.25.2/2.25.3.dcm"
	const times, crcBytes = "\xab\xb5z[", "\x04\x03\x02\x01"
	for size, header := range map[int64]string{
		5 << 30: "PK\x03\x04-\x00\x00\x00\x00\x00" + times + crcBytes + "\xff\xff\xff\xff\xff\xff\xff\xff\x11\x00\x14\x00" + name +
			"\x01\x00\x10\x00\x00\x00\x00@\x01\x00\x00\x00\x00\x00\x00@\x01\x00\x00\x00",
		math.MaxUint32: "PK\x03\x04-\x00\x00\x00\x00\x00" + times + crcBytes + "\xff\xff\xff\xff\xff\xff\xff\xff\x11\x00\x14\x00" + name +
			"\x01\x00\x10\x00\xff\xff\xff\xff\x00\x00\x00\x00\xff\xff\xff\xff\x00\x00\x00\x00",
		math.MaxUint32 - 1: "PK\x03\x04\x14\x00\x00\x00\x00\x00" + times + crcBytes + "\xfe\xff\xff\xff\xfe\xff\xff\xff\x11\x00\x00\x00" + name,
	} {
		f, err := os.Create(filepath.Join(t.TempDir(), "study.zip"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		in := dicomweb.DigestOf{SeriesInstanceUID: "2.25.2", SOPInstanceUID: "2.25.3", Offset: int64(len(header)), Size: size, CRC32: crc}
		z := &zipPlace{file: f, plan: &plan{Digests: dicomweb.Digests{Instances: []dicomweb.DigestOf{in}}}}
		for i := range len(header) {
			b := []byte(header)
			b[i] ^= 1
			if _, err := f.WriteAt(b, 0); err != nil {
				t.Fatal(err)
			}
			if i >= 14 && z.headed(0) { // of the fields before, only some are compared
				t.Errorf("%d bytes: byte %d is another, and it is taken", size, i)
			}
		}
		if _, err := f.WriteAt([]byte(header), 0); err != nil || !z.headed(0) {
			t.Errorf("%d bytes: its record is not taken, %v", size, err)
		}
	}
}
