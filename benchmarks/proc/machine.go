package proc

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Machine is where figures were taken.
type Machine struct {
	CPU      string `json:"cpu"`
	Cores    int    `json:"cores"`
	MemoryMB int64  `json:"memory_mb"`
	Kernel   string `json:"kernel"`
	Disk     string `json:"disk"` // filesystem of the scratch directory
	Go       string `json:"go"`
}

// ThisMachine describes this machine, with the filesystem that dir lies on.
func ThisMachine(dir string) Machine {
	m := Machine{Cores: runtime.NumCPU(), Go: runtime.Version(), Disk: filesystem(dir)}
	for line := range lines("/proc/cpuinfo") {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			m.CPU = strings.TrimSpace(value)
			break
		}
	}
	for line := range lines("/proc/meminfo") {
		var kib int64
		if _, err := fmt.Sscanf(line, "MemTotal: %d kB", &kib); err == nil {
			m.MemoryMB = kib >> 10
		}
	}
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err == nil {
		m.Kernel = "Linux " + strings.TrimSpace(string(release))
	}
	return m
}

// lines yields the lines of a file, none when it cannot be read.
func lines(path string) func(func(string) bool) {
	b, err := os.ReadFile(path)
	if err != nil {
		b = nil
	}
	return strings.Lines(string(b))
}

// filesystem is the type of the one that dir lies on.
func filesystem(dir string) string {
	var at, kind string
	for line := range lines("/proc/self/mounts") {
		f := strings.Fields(line)
		if len(f) > 2 && len(f[1]) >= len(at) && (f[1] == "/" || dir == f[1] || strings.HasPrefix(dir, f[1]+"/")) {
			at, kind = f[1], f[2]
		}
	}
	return kind
}

func allocated(info os.FileInfo) int64 {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return s.Blocks * 512
	}
	return info.Size()
}

// Load is the load average of the last minute.
func Load() float64 {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(b), " ")
	load, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return 0
	}
	return load
}

// TouchMemory writes to n bytes of memory, half of what is available at the
// most, and gives it back.
func TouchMemory(n int) error {
	n = min(n, int(Available()/2))
	if n <= 0 {
		return nil
	}
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_POPULATE)
	if err != nil {
		return fmt.Errorf("touching %d bytes of memory: %w", n, err)
	}
	return unix.Munmap(b)
}

// Available is how much memory programs may still take, in bytes; 0 when the
// kernel does not say.
func Available() int64 {
	for line := range lines("/proc/meminfo") {
		var kib int64
		if _, err := fmt.Sscanf(line, "MemAvailable: %d kB", &kib); err == nil {
			return kib << 10
		}
	}
	return 0
}

// Busy is how long all processors together have been doing something.
func Busy() time.Duration {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	var total time.Duration
	for i, f := range bytes.Fields(line) {
		// cpu user nice system idle iowait irq softirq steal guest guest_nice;
		// guest is part of user.
		if i == 0 || i == 4 || i == 5 || i > 8 {
			continue
		}
		if n, err := strconv.ParseInt(string(f), 10, 64); err == nil {
			total += time.Duration(n) * time.Second / ticksPerSecond
		}
	}
	return total
}

// Own is the processor time of this process and of its children that were
// waited for.
func Own() time.Duration {
	var total time.Duration
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if syscall.Getrusage(who, &u) == nil {
			total += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
	}
	return total
}
