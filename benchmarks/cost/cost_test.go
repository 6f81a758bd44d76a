package cost_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/pprof/profile"

	"github.com/esante-alsace/cigogne/benchmarks/cost"
)

// TestShares: a sample belongs to the innermost of its functions that is known.
func TestShares(t *testing.T) {
	const own = "github.com/esante-alsace/cigogne/"
	const syscall = "internal/runtime/syscall/linux.Syscall6"
	for _, c := range []struct {
		name    string
		samples map[string]int64 // functions, the innermost first
		want    string
	}{
		{"nothing", nil, "[]"},
		{"who makes a system call", map[string]int64{
			syscall + " golang.org/x/sys/unix.Pwritev " + own + "storage/journal.(*segment).write": 30,
			syscall + " internal/poll.(*FD).Read net.(*netFD).Read net.(*conn).Read":               50,
			syscall + " " + own + "storage/index.(*Index).Apply":                                   20,
		}, "[reading the socket 50 % writing to files 30 % index 20 %]"},
		{"what is done for others", map[string]int64{
			"runtime.nextFreeFast runtime.mallocgc " + own + "storage/dicom.(*walker).settle": 1,
			own + "storage/dicom.(*walker).settle " + own + "gateway.(*Storer).receive":       3,
		}, "[walking Data Sets 75 % allocating and collecting memory 25 %]"},
		{"what nobody knows comes last", map[string]int64{
			"main.main":                   90,
			"hash/crc32.ieeeCLMUL a b":    5,
			"github.com/zeebo/blake3.New": 5,
		}, "[checksums 5 % digest 5 % the rest 90 %]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &profile.Profile{SampleType: []*profile.ValueType{{Type: "samples", Unit: "count"}, {Type: "cpu", Unit: "nanoseconds"}}}
			for stack, value := range c.samples {
				s := &profile.Sample{Value: []int64{1, value}}
				for function := range strings.FieldsSeq(stack) {
					s.Location = append(s.Location, &profile.Location{Line: []profile.Line{{Function: &profile.Function{Name: function}}}})
				}
				p.Sample = append(p.Sample, s)
			}
			if got := fmt.Sprint(cost.Shares(p)); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}
