package dicomweb_test

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/esante-alsace/cigogne/storage/dicom/dicomtest"
)

// inFiles stores a study whose instances then lie in files.
func inFiles(b *testing.B, s server, instances int) dicomtest.Study {
	b.Helper()
	study := dicomtest.NewStudy(dicomtest.Options{Seed: 1, Instances: instances})
	s.keep(b, study.Instances...)
	dir := b.TempDir()
	for i, in := range s.instances {
		in.file = filepath.Join(dir, strconv.Itoa(i))
		if err := os.WriteFile(in.file, in.bytes, 0o600); err != nil {
			b.Fatal(err)
		}
		in.bytes = nil
	}
	return study
}

func fetch(b *testing.B, client *http.Client, url, accept string) int64 {
	r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, url, nil)
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("Accept", accept)
	res, err := client.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	defer res.Body.Close()
	n, err := io.Copy(io.Discard, res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		b.Fatalf("%s: %v", res.Status, err)
	}
	return n
}

// BenchmarkRetrieve compares the ways out with a bare http.FileServer, which
// is as near to nginx as Go comes.
func BenchmarkRetrieve(b *testing.B) {
	s := newServer(b)
	study := inFiles(b, s, 200)
	files := newFileServer(b, s.instances[0].file)
	in := study.Instances[0]
	for _, c := range []struct{ name, url, accept string }{
		{"file server, one instance", files, "*/*"},
		{"one instance", s.root + path(in, "instance"), "application/dicom"},
		{"study, multipart", s.root + path(in, "study"), "*/*"},
		{"study, zip", s.root + path(in, "study"), "application/zip"},
		{"study, metadata", s.root + path(in, "study") + "/metadata", "application/dicom+json"},
		{"one frame", s.root + path(in, "instance") + "/frames/1", "application/octet-stream"},
		{"search", s.root + "/instances", "application/dicom+json"},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(fetch(b, s.Client(), c.url, c.accept))
			for b.Loop() {
				fetch(b, s.Client(), c.url, c.accept)
			}
		})
	}
}

func newFileServer(b *testing.B, file string) string {
	s := newHTTPServer(b, http.FileServer(http.Dir(filepath.Dir(file))))
	return s + "/" + filepath.Base(file)
}

func BenchmarkStore(b *testing.B) {
	s := newServer(b)
	study := dicomtest.NewStudy(dicomtest.Options{Seed: 1, Instances: 50})
	var files [][]byte
	for _, in := range study.Instances {
		files = append(files, in.Part10())
	}
	contentType, body := stowBody(files...)
	whole, err := io.ReadAll(body)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(whole)))
	for b.Loop() {
		s.instances = nil
		s.postBytes(b, contentType, whole)
	}
}
