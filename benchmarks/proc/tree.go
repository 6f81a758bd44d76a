// Package proc reads from /proc what a tree of processes has used, and what
// the rest of the machine was doing meanwhile. It knows Linux only.
package proc

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// ticksPerSecond is USER_HZ, which Linux holds at 100 for user space.
const ticksPerSecond = 100

// Usage is what a tree of processes has used since it was started.
type Usage struct {
	CPU     time.Duration // user and system, of the children that were waited for too
	PeakRSS int64         // bytes; the sum of each process's own peak
}

// Tree is the usage of a process and of all its descendants that run now.
func Tree(pid int) (Usage, error) {
	children, err := children()
	if err != nil {
		return Usage{}, err
	}
	var total Usage
	for todo := []int{pid}; len(todo) > 0; {
		p := todo[len(todo)-1]
		todo = append(todo[:len(todo)-1], children[p]...)
		s, err := readStat(p)
		if err != nil {
			continue // it has just ended, and its parent counts its time
		}
		total.CPU += s.cpu
		total.PeakRSS += peakRSS(p)
	}
	if total.CPU == 0 && total.PeakRSS == 0 {
		return total, fmt.Errorf("process %d does not run", pid)
	}
	return total, nil
}

type stat struct {
	parent int
	cpu    time.Duration
}

// readStat reads /proc/PID/stat (proc(5)); the name in parentheses may hold
// anything.
func readStat(pid int) (stat, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	const ppid, utime, cstime = 1, 11, 14
	if len(fields) <= cstime {
		return stat{}, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	s := stat{}
	if s.parent, err = strconv.Atoi(string(fields[ppid])); err != nil {
		return stat{}, err
	}
	for _, f := range fields[utime : cstime+1] {
		n, err := strconv.ParseInt(string(f), 10, 64)
		if err != nil {
			return stat{}, err
		}
		s.cpu += time.Duration(n) * time.Second / ticksPerSecond
	}
	return s, nil
}

func children() (map[int][]int, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	of := map[int][]int{}
	for _, d := range dirs {
		pid, err := strconv.Atoi(filepath.Base(d))
		if err != nil {
			continue
		}
		if s, err := readStat(pid); err == nil {
			of[s.parent] = append(of[s.parent], pid)
		}
	}
	return of, nil
}

func peakRSS(pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(b) {
		var kib int64
		if _, err := fmt.Sscanf(string(line), "VmHWM: %d kB", &kib); err == nil {
			return kib << 10
		}
	}
	return 0
}

// DiskUse is the space in bytes that a directory takes.
func DiskUse(dir string) int64 {
	var total int64
	filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error { //nolint:errcheck // what vanishes meanwhile takes no space
		if err != nil {
			return nil //nolint:nilerr // it vanished
		}
		if info, err := d.Info(); err == nil {
			total += allocated(info)
		}
		return nil
	})
	return total
}
