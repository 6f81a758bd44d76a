package proc

import (
	"bytes"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
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
	m := Machine{Cores: runtime.NumCPU(), MemoryMB: Total() >> 20, Go: runtime.Version(), Disk: filesystem(dir)}
	for line := range lines("/proc/cpuinfo") {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			m.CPU = strings.TrimSpace(value)
			break
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

// filesystem is the type of the one that dir lies on; unknown where not even
// the root was mounted, as in a chroot.
func filesystem(dir string) string {
	at, kind := "", "unknown"
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
