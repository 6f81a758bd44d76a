package proc

import (
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
	pages []byte
	left  int64 // what is not filled
	next  int   // what comes before was filled
}

const (
	// LeftFree is enough for most rounds, in bytes. One that takes more takes
	// it from those pages, as on a machine that has run for a day.
	LeftFree = 1280 << 20
	// touched is how much of that is written to before a round: a host may take
	// back at once what is more than 1 GiB.
	touched = 1 << 30
	// atOnce is what is filled at once.
	atOnce = 16 << 20
)

// NewMemory fills all but left bytes, by a file in dir, which must not lie in
// memory itself. Close must be called.
func NewMemory(dir string, left int64) (*Memory, error) {
	f, err := os.CreateTemp(dir, "hole-")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	defer os.Remove(f.Name()) // its pages stay as long as they are mapped
	size := Total() / atOnce * atOnce
	if err := f.Truncate(size); err != nil {
		return nil, err
	}
	pages, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mapping %d bytes of memory: %w", size, err)
	}
	return &Memory{pages: pages, left: left}, nil
}

// Close gives the memory back.
func (m *Memory) Close() error {
	if m == nil {
		return nil
	}
	return unix.Munmap(m.pages)
}

// Ready makes the memory ready for a round.
func (m *Memory) Ready() error {
	if m == nil {
		return nil
	}
	if err := m.fill(); err != nil {
		return fmt.Errorf("filling memory: %w", err)
	}
	n := min(touched, int(Free()/4*3))
	if n <= 0 {
		return nil
	}
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_POPULATE)
	if err != nil {
		return fmt.Errorf("touching %d bytes of memory: %w", n, err)
	}
	return unix.Munmap(b)
}

// fill lets no more be free than shall be left, or fills the whole file once.
// It goes on where it stopped: the kernel takes first what was filled first.
func (m *Memory) fill() error {
	for filled := 0; filled < len(m.pages) && Free() > m.left; filled += atOnce {
		if err := unix.Madvise(m.pages[m.next:m.next+atOnce], unix.MADV_POPULATE_READ); err != nil {
			return err
		}
		m.next = (m.next + atOnce) % len(m.pages)
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
