package proc_test

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/esante-alsace/cigogne/benchmarks/proc"
)

func TestTreeCountsChildrenAndGrandchildren(t *testing.T) {
	// The shell waits for a child that burns time, then a grandchild holds
	// memory until its input ends.
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `i=0; (while [ $i -lt 300000 ]; do i=$((i+1)); done); echo; cat; echo`)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	u, err := proc.Tree(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if u.CPU == 0 || u.PeakRSS == 0 {
		t.Errorf("the tree has used %+v", u)
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := proc.Tree(cmd.Process.Pid); err == nil {
		t.Error("a process that has ended is said to run")
	}
}

func TestDiskUseCountsWhatIsAllocated(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "a", "b"), 0o755); err != nil {
		t.Fatal(err)
	}
	before := proc.DiskUse(dir)
	if err := os.WriteFile(filepath.Join(dir, "a", "b", "c"), make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	if grown := proc.DiskUse(dir) - before; grown < 1<<20 || grown > 2<<20 {
		t.Errorf("a file of 1 MiB takes %d bytes", grown)
	}
}

func TestThisMachineIsDescribed(t *testing.T) {
	m := proc.ThisMachine(t.TempDir())
	if m.Cores == 0 || m.MemoryMB == 0 || m.Kernel == "" || m.Go == "" || m.Disk == "" {
		t.Errorf("machine %+v", m)
	}
	if proc.Busy() == 0 {
		t.Error("the processors have never been busy")
	}
}

func TestMemoryTakesNoDisk(t *testing.T) {
	dir := t.TempDir()
	m, err := proc.NewMemory(dir, proc.Free()-64<<20)
	if err != nil {
		t.Skip("no memory to fill: ", err)
	}
	if err := m.Ready(); err != nil {
		t.Error(err)
	}
	if used := proc.DiskUse(dir); used > 1<<20 {
		t.Errorf("filling memory takes %d bytes of the disk", used)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("%s is left over", left[0].Name())
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	var nobody *proc.Memory
	if err := errors.Join(nobody.Ready(), nobody.Close()); err != nil {
		t.Error(err)
	}
}

func TestMemoryIsNotFilledForGood(t *testing.T) {
	var fs unix.Statfs_t
	if err := unix.Statfs("/dev/shm", &fs); err != nil || fs.Type != unix.TMPFS_MAGIC {
		t.Skip("/dev/shm does not lie in memory")
	}
	m, err := proc.NewMemory("/dev/shm", proc.LeftFree)
	if m != nil || err != nil {
		t.Errorf("a file in memory is to be filled: %v", err)
	}
}
