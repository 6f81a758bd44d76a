package progress

import (
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dustin/go-humanize"
)

// step is one step of the work, and what was counted of it.
type step struct {
	name          string
	total         Amount
	done, skipped Amount
	began         time.Time
	samples       []sample // in order of time, the last window
}

// sample is what was done at a time.
type sample struct {
	at   time.Time
	done Amount
}

// window is over how long a rate is taken: long enough to be calm, short
// enough to follow.
const window = 10 * time.Second

// sample notes what is done now.
func (s *step) sample() {
	now := time.Now()
	s.samples = append(s.samples, sample{now, s.done})
	first := 0
	for first < len(s.samples)-2 && now.Sub(s.samples[first+1].at) >= window {
		first++
	}
	s.samples = append(s.samples[:0], s.samples[first:]...)
}

// count is what is done or needed not be.
func (s *step) count() Amount { return s.done.plus(s.skipped) }

// rates are items and bytes per second over the window.
func (s *step) rates() (items, bytes float64) {
	if len(s.samples) == 0 {
		return 0, 0
	}
	first := s.samples[0]
	took := time.Since(first.at).Seconds()
	if took <= 0 {
		return 0, 0
	}
	did := s.done.minus(first.done)
	return float64(did.Items) / took, float64(did.Bytes) / took
}

// remaining is how long the step will still take at the rate it has; false
// when nobody knows.
func (s *step) remaining() (time.Duration, bool) {
	items, bytes := s.rates()
	left, rate := float64(s.total.Bytes-s.count().Bytes), bytes
	if s.total.Bytes == 0 {
		left, rate = float64(s.total.Items-s.count().Items), items
	}
	const never = 1000 * time.Hour
	if s.total == (Amount{}) || left < 0 || rate <= 0 || left/rate > never.Seconds() {
		return 0, false
	}
	return time.Duration(left / rate * float64(time.Second)), true
}

// share is how much of the step is done, from 0 to 1; false when nobody knows.
func (s *step) share() (float64, bool) {
	of, part := s.total.Bytes, s.count().Bytes
	if of == 0 {
		of, part = s.total.Items, s.count().Items
	}
	if of <= 0 {
		return 0, false
	}
	return min(1, max(0, float64(part)/float64(of))), true
}

// fields are the step for programs: rates per second, times in seconds.
func (s *step) fields() []slog.Attr {
	count := s.count()
	items, bytes := s.rates()
	all := []slog.Attr{
		slog.String("step", s.name), slog.Int64("items", count.Items), slog.Int64("bytes", count.Bytes),
		slog.Int64("totalItems", s.total.Items), slog.Int64("totalBytes", s.total.Bytes),
		slog.Int64("itemsPerSecond", int64(items)), slog.Int64("bytesPerSecond", int64(bytes)),
	}
	if left, ok := s.remaining(); ok {
		all = append(all, slog.Int64("remaining", int64(left.Round(time.Second).Seconds())))
	}
	return all
}

func (s *step) endFields() []slog.Attr {
	count := s.count()
	return []slog.Attr{
		slog.String("step", s.name), slog.Int64("items", count.Items), slog.Int64("bytes", count.Bytes),
		slog.Int64("skippedItems", s.skipped.Items), slog.Int64("skippedBytes", s.skipped.Bytes),
		slog.Float64("seconds", time.Since(s.began).Seconds()),
	}
}

// text is the step as a line: how much, how fast, how long still.
func (s *step) text() string {
	parts := []string{s.name}
	count := s.count()
	if share, ok := s.share(); ok {
		parts = append(parts, fmt.Sprintf("%3.0f %%", 100*share))
	}
	if s.total.Items > 0 {
		parts = append(parts, humanize.Comma(count.Items)+" of "+humanize.Comma(s.total.Items))
	} else {
		parts = append(parts, humanize.Comma(count.Items))
	}
	if count.Bytes > 0 || s.total.Bytes > 0 {
		parts = append(parts, size(count.Bytes))
	}
	if s.total.Bytes > 0 {
		parts[len(parts)-1] += " of " + size(s.total.Bytes)
	}
	switch items, bytes := s.rates(); {
	case bytes > 0:
		parts = append(parts, size(int64(bytes))+"/s")
	case items > 0:
		parts = append(parts, humanize.CommafWithDigits(items, 0)+"/s")
	}
	if left, ok := s.remaining(); ok {
		parts = append(parts, left.Round(time.Second).String()+" left")
	}
	return strings.Join(parts, "  ")
}

// barWidth is how long a bar is between its brackets.
const barWidth = 20

// bar is the step as a line of at most width-1 columns, so that a terminal
// does not begin another.
func (s *step) bar(width int) string {
	text := Printable(s.text())
	if share, ok := s.share(); ok && utf8.RuneCountInString(text)+barWidth+4 < width {
		full := int(share * barWidth)
		head := strings.Repeat("=", full)
		if full < barWidth {
			head += ">"
		}
		text = fmt.Sprintf("[%-*s]  %s", barWidth, head, text)
	}
	runes := []rune(text)
	return string(runes[:min(len(runes), max(0, width-1))])
}

// summary is what the step came to.
func (s *step) summary() string {
	took := time.Since(s.began)
	text := s.name + ": " + humanize.Comma(s.count().Items)
	if b := s.count().Bytes; b > 0 {
		text += ", " + size(b)
	}
	text += " in " + round(took).String()
	if seconds := took.Seconds(); seconds > 0 && s.done.Bytes > 0 {
		text += " (" + size(int64(float64(s.done.Bytes)/seconds)) + "/s)"
	}
	if s.skipped.Items > 0 {
		text += ", of which " + humanize.Comma(s.skipped.Items) + " passed over"
	}
	return text
}

// round keeps three digits or so of a duration.
func round(d time.Duration) time.Duration {
	switch {
	case d > time.Minute:
		return d.Round(time.Second)
	case d > time.Second:
		return d.Round(time.Second / 10)
	}
	return d.Round(time.Millisecond)
}

func size(bytes int64) string { return humanize.Bytes(uint64(max(0, bytes))) }
