// Package cost tells what the processor time of our node is spent on, by kinds
// that a reader of the architecture knows: a profile names functions, and the
// one it names first is mostly a system call, whoever makes it.
package cost

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/google/pprof/profile"
)

// Share is what part of the processor time a kind of work takes, from 0 to 1.
type Share struct {
	Kind string
	Part float64
}

// String writes it as "digest 21 %".
func (s Share) String() string { return fmt.Sprintf("%s %.0f %%", s.Kind, 100*s.Part) }

// Rest is the kind of what none is told of.
const Rest = "the rest"

// Shares are those of a processor profile, the largest first, the rest last.
// Of a sample's functions it is the innermost of which a kind is told that
// counts. A profile without a sample has none.
func Shares(p *profile.Profile) []Share {
	value, all := len(p.SampleType)-1, kinds()
	parts := map[string]int64{}
	var total int64
	for _, s := range p.Sample {
		parts[kindOf(s, all)] += s.Value[value]
		total += s.Value[value]
	}
	of := func(kind string) Share { return Share{kind, float64(parts[kind]) / float64(total)} }
	var shares []Share
	for kind := range parts {
		if kind != Rest {
			shares = append(shares, of(kind))
		}
	}
	slices.SortFunc(shares, func(a, b Share) int {
		return cmp.Or(cmp.Compare(b.Part, a.Part), cmp.Compare(a.Kind, b.Kind))
	})
	if parts[Rest] > 0 {
		shares = append(shares, of(Rest))
	}
	return shares
}

// kindOf is the kind of work, one of all, that a sample was taken of.
func kindOf(s *profile.Sample, all []kind) string {
	for _, at := range s.Location {
		for _, line := range at.Line {
			for _, k := range all {
				if line.Function != nil && k.has(line.Function.Name) {
					return k.name
				}
			}
		}
	}
	return Rest
}

// kind is work, and how the names of the functions that do it begin.
type kind struct {
	name  string
	begin []string
}

func (k kind) has(function string) bool {
	return slices.ContainsFunc(k.begin, func(b string) bool { return strings.HasPrefix(function, b) })
}

const own = "github.com/esante-alsace/cigogne/"

// kinds are those that are told apart: of two that could claim a function the
// first has it.
func kinds() []kind {
	return []kind{
		{"digest", []string{"github.com/zeebo/blake3"}},
		{"checksums", []string{"hash/crc32"}},
		{"copying in memory", []string{"runtime.memmove"}},
		{"allocating and collecting memory", []string{
			"runtime.mallocgc", "runtime.newobject", "runtime.makeslice", "runtime.growslice", "runtime.gc", "runtime.bgsweep",
			"runtime.bgscavenge", "runtime.scan", "runtime.memclr", "runtime.(*mheap)", "runtime.(*mcache)",
		}},
		{"scheduling goroutines", []string{
			"runtime.schedule", "runtime.findRunnable", "runtime.sysmon", "runtime.mcall", "runtime.park_m", "runtime.futex",
			"runtime.netpoll", "runtime.usleep", "runtime.ready", "runtime.wakep", "runtime.mstart", "runtime.asyncPreempt",
		}},
		{"sendfile", []string{"internal/poll.SendFile", "syscall.sendfile"}},
		{"fsync", []string{"golang.org/x/sys/unix.Fdatasync", "golang.org/x/sys/unix.SyncFileRange", "os.(*File).Sync"}},
		{"socket options", []string{"golang.org/x/sys/unix.Setsockopt", "syscall.setsockopt", "syscall.SetsockoptInt"}},
		{"reading the socket", []string{"net.(*netFD).Read", "net.(*conn).Read"}},
		{"writing to the socket", []string{"net.(*netFD).Write", "net.(*netFD).writeBuffers", "net.(*conn).Write"}},
		{"writing to files", []string{"golang.org/x/sys/unix.Pwritev", "os.(*File).Write", "os.(*File).pwrite"}},
		{"reading files", []string{"os.(*File).Read", "os.(*File).pread"}},
		{"opening files", []string{"os.Open", "os.Stat", "os.(*File).Stat", "os.(*File).Close", "os.(*file).close", "golang.org/x/sys/unix.Open"}},
		{"index", []string{own + "storage/index", "modernc.org/", "database/sql"}},
		{"walking Data Sets", []string{own + "storage/dicom"}},
		{"encoding records", []string{"github.com/fxamacker/cbor"}},
		{"inflating", []string{"github.com/klauspost/compress", "compress/flate"}},
		{"journal", []string{own + "storage/journal"}},
		{"packs", []string{own + "storage/pack", own + "storage/archive"}},
		{"DIMSE", []string{own + "gateway/dimse"}},
		{"HTTP", []string{"net/http", "net/textproto", "net/url", "mime", own + "gateway/dicomweb", "encoding/json"}},
		{"TLS and S3", []string{"crypto/", "github.com/aws/"}},
		{"gateway", []string{own + "gateway"}},
	}
}
