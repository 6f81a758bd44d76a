package puller

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/esante-alsace/cigogne/gateway/dicomweb"
)

// FuzzLedger: whatever a crash made of a ledger, what it says lies in the ZIP
// file, and it can be gone on with.
func FuzzLedger(f *testing.F) {
	p := &plan{Digests: dicomweb.Digests{ETag: `"x"`, Size: 1000}}
	head := string(line(entry{ETag: p.ETag, Size: p.Size}))
	f.Add(head + "\n" + string(line(entry{Offset: 10, Length: 20})) + "\n")
	f.Add(head + "\n" + `{"offset":1,"len`)
	f.Add(`{"etag":"\"y\"","size":1000}` + "\n" + `{"offset":10,"length":20}`)
	f.Add(head + "\n" + string(line(wholeEntry(dicomweb.DigestOf{SOPInstanceUID: "1.2", Offset: 10, Size: 20}))) + "\n")
	f.Add(head + "\n" + `{"offset":-1,"length":9223372036854775807}`)
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(t.TempDir(), "ledger")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		l, says, err := openLedger(path, p)
		if err != nil {
			return // a line longer than any of ours
		}
		left := newSpans(p.Size)
		for _, r := range says.there {
			if says.same && !r.Within(p.Size) {
				t.Errorf("%+v is not in the file", r)
			}
			left.remove(r)
		}
		for in, r := range says.whole {
			if r.Offset < 0 || r.Length < 0 {
				t.Errorf("%v lies at %+v", in, r)
			}
		}
		if n := left.bytes(); n < 0 || n > p.Size {
			t.Errorf("%d bytes are missing", n)
		}
		if err := l.remove(); err != nil {
			t.Error(err)
		}
	})
}
