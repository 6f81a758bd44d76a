package proc

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Memory keeps what is free of a virtual machine's memory small and lately
// used. Its host may take back what has been free for a second or two, and who
// comes next pays for getting it again, 0.4 to 2 s a GB. Free memory beyond a
// little is therefore filled with the pages of a file without blocks, which the
// kernel gives to whoever needs more. They are mapped: a guest may be made to
// give back those that are not. A nil Memory does nothing.
type Memory struct {
	hole  *os.File
	pages []byte // of hole
	left  int64  // what is not filled
	next  int    // where filling goes on
	first int    // where giving back goes on
}

const (
	// LeftFree is enough for most rounds, in bytes. One that takes more takes
	// it from those pages, as on a machine that has run for a day.
	LeftFree = 3 << 30
	// untouched is how much of that is not written to before a round.
	untouched = 256 << 20
	// atOnce is what is filled at once.
	atOnce = 16 << 20
)

// NewMemory fills all but left bytes, by a file in dir. Where dir lies in memory
// itself the kernel could not take that back: nil. Close must be called.
func NewMemory(dir string, left int64) (*Memory, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return nil, fmt.Errorf("looking at the filesystem of %s: %w", dir, err)
	}
	if fs.Type == unix.TMPFS_MAGIC || fs.Type == unix.RAMFS_MAGIC {
		return nil, nil
	}
	f, err := os.CreateTemp(dir, "hole-")
	if err != nil {
		return nil, err
	}
	m := &Memory{hole: f, left: left}
	size := Total() / atOnce * atOnce
	err = errors.Join(os.Remove(f.Name()), f.Truncate(size))
	if err == nil {
		m.pages, err = unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("mapping %d bytes of memory: %w", size, err), f.Close())
	}
	return m, nil
}

// Close gives the memory back.
func (m *Memory) Close() error {
	if m == nil {
		return nil
	}
	return errors.Join(unix.Munmap(m.pages), m.hole.Close())
}

// Ready makes the memory ready for a round.
func (m *Memory) Ready() error {
	if m == nil {
		return nil
	}
	if err := errors.Join(m.fill(), m.giveBack()); err != nil {
		return fmt.Errorf("filling memory: %w", err)
	}
	n := min(Free(), m.left, LeftFree) - untouched
	if n <= 0 {
		return nil
	}
	b, err := unix.Mmap(-1, 0, int(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_POPULATE)
	if err != nil {
		return fmt.Errorf("touching %d bytes of memory: %w", n, err)
	}
	return unix.Munmap(b)
}

// fill lets no more be free than shall be left, or fills the whole file once.
func (m *Memory) fill() error {
	for filled := 0; filled < len(m.pages) && Free() > m.left; filled += atOnce {
		err := unix.Madvise(m.pages[m.next:m.next+atOnce], unix.MADV_POPULATE_READ)
		if errors.Is(err, unix.EINVAL) { // before Linux 5.14: what is free is touched all the same
			return nil
		}
		if err != nil {
			return err
		}
		m.next = (m.next + atOnce) % len(m.pages)
	}
	return nil
}

// giveBack lets no less be free, as far as the file has it: else whoever needs
// memory first would wait for the kernel to find some.
func (m *Memory) giveBack() error {
	const mode = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
	for given := 0; given < len(m.pages) && Free() < m.left-atOnce; given += atOnce {
		if err := unix.Fallocate(int(m.hole.Fd()), mode, int64(m.first), atOnce); err != nil {
			return err
		}
		m.first = (m.first + atOnce) % len(m.pages)
	}
	return nil
}

// Free is how much memory nobody uses, not even to remember files, in bytes; 0
// when the kernel does not say.
func Free() int64 { return memory("MemFree") }

// Total is how much memory there is, in bytes; 0 when the kernel does not say.
func Total() int64 { return memory("MemTotal") }

// memory reads a line of /proc/meminfo.
func memory(name string) int64 {
	for line := range lines("/proc/meminfo") {
		var kib int64
		if _, err := fmt.Sscanf(line, name+": %d kB", &kib); err == nil {
			return kib << 10
		}
	}
	return 0
}
