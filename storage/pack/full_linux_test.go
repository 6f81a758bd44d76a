package pack_test

import (
	"bytes"
	"syscall"
	"testing"

	"github.com/esante-alsace/cigogne/storage/pack"
)

// TestFullSpool: a journal is emptied into packs also when the disk that they
// share is full. What has no room in the spool is compressed again when it is
// read, and the bytes are the same.
func TestFullSpool(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=512k"); err != nil {
		t.Skipf("mounting a tmpfs takes root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	members := images()
	for _, c := range settings() {
		for _, memory := range []int{1, 400 << 10} {
			want := read(t, build(t, pack.Options{Compression: c}, members))
			p, err := pack.Build(t.Context(), pack.Options{Compression: c, SpoolDir: dir, SpoolMemory: memory}, members)
			if err != nil {
				t.Fatal(err)
			}
			if got := read(t, p); !bytes.Equal(got, want) {
				t.Errorf("%s: other bytes than with a disk that has room", c)
			}
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}
