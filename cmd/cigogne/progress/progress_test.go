package progress_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/esante-alsace/cigogne/cmd/cigogne/progress"
)

// TestTold: what a person and a program are told of the same work. The clock
// is synctest's.
func TestTold(t *testing.T) {
	work := func(o progress.Options) {
		w := progress.Start(o)
		w.Step("find", progress.Amount{})
		w.Add(4, 0)
		w.Step("send", progress.Amount{Items: 4, Bytes: 4_000_000})
		w.Skip(1, 1_000_000)
		time.Sleep(time.Second + time.Millisecond)
		w.Add(1, 1_000_000)
		w.Tell(progress.Event{
			Name: "refused", Text: "refused\x1b[31m.dcm: no DICOM", Fields: []slog.Attr{slog.String("file", "refused\x1b[31m.dcm")},
		})
		time.Sleep(time.Second)
		io.Copy(io.Discard, w.Reader(strings.NewReader(strings.Repeat("x", 2_000_000))))
		w.Add(2, 0)
		w.End()
	}
	for _, c := range []struct {
		name string
		told func(o *progress.Options, out io.Writer)
		want string
	}{
		{"lines", func(o *progress.Options, out io.Writer) { o.Out, o.Every = out, time.Second }, `
find: 4 in 0s
send   25 %  1 of 4  1.0 MB of 4.0 MB
refused?[31m.dcm: no DICOM
send   50 %  2 of 4  2.0 MB of 4.0 MB  500 kB/s  4s left
send: 4, 4.0 MB in 2s (1.5 MB/s), of which 1 passed over
`},
		{"a terminal", func(o *progress.Options, out io.Writer) {
			o.Out, o.Every, o.Width = out, time.Second, func() int { return 100 }
		}, `
find  0|find: 4 in 0s
[>                   ]  send    0 %  0 of 4  0 B of 4.0 MB|[=====>              ]  send   25 %  1 of 4  1.0 MB of 4.0 MB|refused?[31m.dcm: no DICOM
[==========>         ]  send   50 %  2 of 4  2.0 MB of 4.0 MB  999 kB/s  2s left|[==========>         ]  send   50 %  2 of 4  2.0 MB of 4.0 MB  500 kB/s  4s left|send: 4, 4.0 MB in 2s (1.5 MB/s), of which 1 passed over
`},
		{"a program", func(o *progress.Options, out io.Writer) { o.JSON = out }, `
{"event":"step","step":"find","items":0,"bytes":0,"totalItems":0,"totalBytes":0,"itemsPerSecond":0,"bytesPerSecond":0}
{"event":"done","step":"find","items":4,"bytes":0,"skippedItems":0,"skippedBytes":0,"seconds":0}
{"event":"step","step":"send","items":0,"bytes":0,"totalItems":4,"totalBytes":4000000,"itemsPerSecond":0,"bytesPerSecond":0}
{"event":"progress","step":"send","items":1,"bytes":1000000,"totalItems":4,"totalBytes":4000000,"itemsPerSecond":0,"bytesPerSecond":0}
{"event":"refused","file":"refused\u001b[31m.dcm"}
{"event":"progress","step":"send","items":2,"bytes":2000000,"totalItems":4,"totalBytes":4000000,"itemsPerSecond":0,"bytesPerSecond":500000,"remaining":4}
{"event":"done","step":"send","items":4,"bytes":4000000,"skippedItems":1,"skippedBytes":1000000,"seconds":2.001}
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out bytes.Buffer
				var o progress.Options
				c.told(&o, &out)
				work(o)
				got := "\n" + strings.ReplaceAll(out.String(), "\r\x1b[K", "|")
				if o.JSON != nil {
					got = withoutTime(t, got)
				}
				if got != c.want {
					t.Errorf("told:%s\nwant:%s", got, c.want)
				}
			})
		})
	}
}

// withoutTime takes the time off each object, which must have one.
func withoutTime(t *testing.T, lines string) string {
	t.Helper()
	var all strings.Builder
	for line := range strings.Lines(lines) {
		if line == "\n" {
			all.WriteString(line)
			continue
		}
		var object struct{ Time time.Time }
		if err := json.Unmarshal([]byte(line), &object); err != nil || object.Time.IsZero() {
			t.Errorf("%s: %v", line, err)
		}
		_, rest, _ := strings.Cut(line, ",")
		all.WriteString("{" + rest)
	}
	return all.String()
}

// TestANarrowTerminal: a bar never takes a second line, which could not be
// taken back.
func TestANarrowTerminal(t *testing.T) {
	for width := range 100 {
		var out bytes.Buffer
		w := progress.Start(progress.Options{Out: &out, Width: func() int { return width }})
		w.Step("séries", progress.Amount{Items: 4_000, Bytes: 4_000_000})
		w.Skip(1, 1)
		bar := out.String()
		w.End()
		if n := len([]rune(bar)); n > max(0, width-1) {
			t.Errorf("%d columns: %q has %d", width, bar, n)
		}
	}
}

func TestRateFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		w := progress.Start(progress.Options{JSON: &out})
		w.Step("send", progress.Amount{Bytes: 1 << 40})
		time.Sleep(time.Second / 2) // not when it looks
		for range 60 {
			time.Sleep(time.Second)
			w.Add(0, 1_000)
		}
		for range 12 {
			time.Sleep(time.Second)
			w.Add(0, 1_000_000)
		}
		w.End()
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		var last struct {
			BytesPerSecond, Remaining int64
		}
		if err := json.Unmarshal([]byte(lines[len(lines)-2]), &last); err != nil {
			t.Fatal(err)
		}
		if last.BytesPerSecond < 900_000 || last.BytesPerSecond > 1_000_000 || last.Remaining < 1_000_000 {
			t.Errorf("after 12 seconds at 1 MB/s it tells %+v", last)
		}
	})
}
