package dir_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive/archivetest"
	"github.com/esante-alsace/cigogne/storage/archive/dir"
)

func openIn(t testing.TB, path string) *dir.Archive {
	t.Helper()
	a, err := dir.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

// files lists all that lies below a folder but for folders.
func files(t testing.TB, path string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(path, func(name string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			rel, _ := filepath.Rel(path, name)
			names = append(names, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func put(t testing.TB, a *dir.Archive, key string, b archivetest.Bytes) {
	t.Helper()
	if _, err := a.Put(t.Context(), key, b); err != nil {
		t.Fatal(err)
	}
}

func TestObjectsAreFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "made", "here")
	a := openIn(t, path)
	put(t, a, "studies/1.2/3.zip", archivetest.Random(1, 1000))
	if a.String() != "dir://"+path {
		t.Errorf("String is %q", a)
	}
	if got := files(t, path); len(got) != 1 || got[0] != "studies/1.2/3.zip" {
		t.Errorf("the folder has %q", got)
	}
	b, err := os.ReadFile(filepath.Join(path, "studies/1.2/3.zip"))
	if err != nil || !bytes.Equal(b, archivetest.Random(1, 1000)) {
		t.Errorf("other bytes in the file (%v)", err)
	}
	again := openIn(t, path)
	if s, err := again.Stat(t.Context(), "studies/1.2/3.zip"); err != nil || s.Size != 1000 {
		t.Errorf("after another Open: %+v, %v", s, err)
	}
}

func TestOpenFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, filepath.Join(file, "below")} {
		if _, err := dir.Open(path); err == nil {
			t.Errorf("Open %q succeeded", path)
		}
	}
}

// TestSweep opens a folder in which a process died, and in which another one
// is in the midst of a Put.
func TestSweep(t *testing.T) {
	path := t.TempDir()
	a := openIn(t, path)
	left := filepath.Join(path, ".staging", "4711-1")
	if err := os.WriteFile(left, []byte("half an object"), 0o600); err != nil {
		t.Fatal(err)
	}
	data := archivetest.Random(2, 5<<20)
	swept := false
	_, err := a.Put(t.Context(), "a/b", archivetest.Hooked{Source: data, Hook: func(before int64) {
		if before < 3<<20 || swept {
			return
		}
		swept = true
		openIn(t, path)
		if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("what the crash left is still there: %v", err)
		}
	}})
	if err != nil || !swept {
		t.Fatalf("the Put that another Open met: %v", err)
	}
	if got := files(t, path); len(got) != 1 || got[0] != "a/b" {
		t.Errorf("the folder has %q", got)
	}
}

func TestFailedPutLeavesNoFile(t *testing.T) {
	path := t.TempDir()
	a := openIn(t, path)
	put(t, a, "taken", archivetest.Random(3, 10))
	_, err1 := a.Put(t.Context(), "a/b", archivetest.Failing{Source: archivetest.Random(4, 3<<20), After: 2 << 20})
	_, err2 := a.Put(t.Context(), "taken", archivetest.Random(5, 10))
	if err1 == nil || err2 == nil {
		t.Error("the Puts succeeded")
	}
	if got := files(t, path); len(got) != 1 {
		t.Errorf("the folder has %q", got)
	}
}

func TestKeysThatAFileSystemCannotHold(t *testing.T) {
	a := openIn(t, t.TempDir())
	put(t, a, "a/b", archivetest.Random(6, 10))
	for _, key := range []string{"a", "a/b/c", "a/b/c/d", strings.Repeat("x", 300), "y/" + strings.Repeat("x", 300) + "/z"} {
		if _, err := a.Put(t.Context(), key, archivetest.Random(6, 10)); !errors.Is(err, storage.ErrInvalid) {
			t.Errorf("Put %.20q: %v, want storage.ErrInvalid", key, err)
		}
		if _, err := a.Stat(t.Context(), key); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("Stat %.20q: %v, want storage.ErrNotFound", key, err)
		}
	}
}

// TestStrangersInTheFolder: what others put there is no object, and a link
// leads nowhere.
func TestStrangersInTheFolder(t *testing.T) {
	path, outside := t.TempDir(), t.TempDir()
	a := openIn(t, path)
	secret := filepath.Join(outside, "secret")
	err := errors.Join(
		os.WriteFile(secret, []byte("secret"), 0o600),
		os.Symlink(secret, filepath.Join(path, "link")),
		os.Symlink(outside, filepath.Join(path, "folder")),
		os.WriteFile(filepath.Join(path, "lost and found"), nil, 0o600),
		syscall.Mkfifo(filepath.Join(path, "fifo"), 0o600),
	)
	if err != nil {
		t.Fatal(err)
	}
	for s, err := range a.List(t.Context(), "") {
		t.Errorf("List shows %+v, %v", s, err)
	}
	for _, key := range []string{"link", "folder/secret", "fifo"} {
		if rc, err := a.Get(t.Context(), key, storage.Range{}); err == nil {
			rc.Close()
			t.Errorf("Get %q succeeded", key)
		}
	}
	if _, err := a.Put(t.Context(), "folder/x", archivetest.Random(7, 10)); err == nil {
		t.Error("Put through a link succeeded")
	}
	if got := files(t, outside); len(got) != 1 {
		t.Errorf("outside lies %q", got)
	}
}

func TestObjectThatWasCut(t *testing.T) {
	path := t.TempDir()
	a := openIn(t, path)
	put(t, a, "a", archivetest.Random(8, 10_000))
	for _, copied := range []bool{false, true} {
		rc, err := a.Get(t.Context(), "a", storage.Range{Length: 10_000})
		if err != nil {
			t.Fatal(err)
		}
		defer rc.Close()
		if err := os.Truncate(filepath.Join(path, "a"), 5000); err != nil {
			t.Fatal(err)
		}
		if copied {
			_, err = io.Copy(io.Discard, rc)
		} else {
			_, err = io.ReadAll(rc)
		}
		if !errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("%v, want storage.ErrCorrupt", err)
		}
		if err := os.Truncate(filepath.Join(path, "a"), 10_000); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFullDisk fills a small file system, and makes room again.
func TestFullDisk(t *testing.T) {
	path := t.TempDir()
	if err := syscall.Mount("cigogne", path, "tmpfs", 0, "size=2m"); err != nil {
		t.Skipf("no small file system to fill: mount: %v", err)
	}
	defer syscall.Unmount(path, syscall.MNT_DETACH)
	a := openIn(t, path)
	put(t, a, "first", archivetest.Random(9, 1<<20))
	if _, err := a.Put(t.Context(), "second", archivetest.Random(10, 2<<20)); !errors.Is(err, storage.ErrFull) {
		t.Errorf("Put on a full disk: %v, want storage.ErrFull", err)
	}
	if got := files(t, path); len(got) != 1 {
		t.Errorf("the folder has %q", got)
	}
	put(t, a, "fits", archivetest.Random(11, 1<<20-16<<10))
	if err := os.WriteFile(filepath.Join(path, "filler"), make([]byte, 1<<20), 0o600); err == nil {
		t.Error("the disk is not full")
	}
	if err := a.Check(t.Context()); !errors.Is(err, storage.ErrFull) {
		t.Errorf("Check of a full disk: %v, want storage.ErrFull", err)
	}
	if err := errors.Join(os.Remove(filepath.Join(path, "filler")), a.Remove(t.Context(), "first")); err != nil {
		t.Fatal(err)
	}
	put(t, a, "second", archivetest.Random(10, 800<<10))
	if err := a.Check(t.Context()); err != nil {
		t.Errorf("Check with room again: %v", err)
	}
}

// TestCopyGivesTheFile: io.Copy hands over what net and net/http send with
// sendfile, an *os.File in an *io.LimitedReader.
func TestCopyGivesTheFile(t *testing.T) {
	a := openIn(t, t.TempDir())
	put(t, a, "a", archivetest.Random(12, 10_000))
	rc, err := a.Get(t.Context(), "a", storage.Range{Offset: 10, Length: 5000})
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	var got spy
	if n, err := io.Copy(&got, rc); err != nil || n != 5000 {
		t.Errorf("%d, %v", n, err)
	}
	if limited, ok := got.from.(*io.LimitedReader); !ok {
		t.Errorf("io.Copy gave %T", got.from)
	} else if _, ok := limited.R.(*os.File); !ok {
		t.Errorf("io.Copy gave an *io.LimitedReader of %T", limited.R)
	}
}

type spy struct {
	bytes.Buffer
	from io.Reader
}

func (s *spy) ReadFrom(r io.Reader) (int64, error) {
	s.from = r
	return s.Buffer.ReadFrom(r)
}

// BenchmarkHTTP sends a pack of 32 MiB over a loopback connection.
func BenchmarkHTTP(b *testing.B) {
	const size = 32 << 20
	a := openIn(b, b.TempDir())
	put(b, a, "a", archivetest.Random(13, size))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc, err := a.Get(r.Context(), "a", storage.Range{Length: size})
		if err != nil {
			return
		}
		defer rc.Close()
		w.Header().Set("Content-Length", "33554432")
		_, _ = io.Copy(w, rc)
	}))
	defer srv.Close()
	b.SetBytes(size)
	buf := make([]byte, 1<<20)
	for b.Loop() {
		resp, err := srv.Client().Get(srv.URL)
		if err != nil {
			b.Fatal(err)
		}
		n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, resp.Body, buf)
		resp.Body.Close()
		if err != nil || n != size {
			b.Fatal(n, err)
		}
	}
}
