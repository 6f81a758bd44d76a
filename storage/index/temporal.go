package index

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
)

// span is a closed interval of dates, times or date-times, in microseconds of
// a scale that only has to be the same on both sides. A value that is less
// precise than a microsecond is the span of all that it may mean.
type span struct{ from, to int64 }

const (
	beginning = -1 << 62
	end       = 1<<62 - 1
)

// parseRange understands a matching key of VR DA, TM or DT: a single value,
// 'A-B', '-B' or 'A-' (PS3.4 §C.2.2.2.5). Nonsense is storage.ErrInvalid.
func parseRange(vr dicom.VR, s string) (span, error) {
	if one, ok := parseTemporal(vr, s); ok {
		return one, nil
	}
	for i := range len(s) {
		if s[i] != '-' {
			continue
		}
		left, right := strings.TrimSpace(s[:i]), strings.TrimSpace(s[i+1:])
		r := span{beginning, end}
		from, okFrom := parseTemporal(vr, left)
		to, okTo := parseTemporal(vr, right)
		if okFrom {
			r.from = from.from
		}
		if okTo {
			r.to = to.to
		}
		if (okFrom || left == "") && (okTo || right == "") && (okFrom || okTo) {
			if r.from > r.to {
				return span{}, fmt.Errorf("%w: the range %q ends before it begins", storage.ErrInvalid, clip(s))
			}
			return r, nil
		}
	}
	return span{}, fmt.Errorf("%w: %q is not a value or a range of %s", storage.ErrInvalid, clip(s), vr)
}

func parseTemporal(vr dicom.VR, s string) (span, bool) {
	switch vr {
	case "DA":
		return parseDA(s)
	case "TM":
		return parseTM(s)
	default:
		return parseDT(s)
	}
}

// parseDA takes YYYYMMDD, and YYYY.MM.DD of before 1993 (PS3.5 §6.2).
func parseDA(s string) (span, bool) {
	if len(s) == 10 && s[4] == '.' && s[7] == '.' {
		s = s[:4] + s[5:7] + s[8:]
	}
	if len(s) != 8 {
		return span{}, false
	}
	return parseDT(s)
}

// parseTM takes HH[MM[SS[.F]]], and colons between them as of before 1993.
func parseTM(s string) (span, bool) {
	if len(s) >= 5 && s[2] == ':' {
		s = s[:2] + s[3:]
		if len(s) >= 7 && s[4] == ':' {
			s = s[:4] + s[5:]
		}
	}
	digits, fraction, _ := strings.Cut(s, ".")
	n, ok := fields(digits, 2, 2, 2)
	if !ok || n[0] > 23 || n[1] > 59 || n[2] > 60 {
		return span{}, false
	}
	micros, width, ok := parseFraction(fraction, len(digits) == 6)
	if !ok {
		return span{}, false
	}
	from := int64(n[0])*3600 + int64(n[1])*60 + int64(n[2])
	switch len(digits) {
	case 2:
		width = 3600 * second
	case 4:
		width = 60 * second
	}
	from = from*second + micros
	return span{from, from + width - 1}, true
}

const second = 1_000_000

// parseFraction is the microseconds of a fraction of a second, and how many of
// them it may mean.
func parseFraction(f string, allowed bool) (micros, width int64, ok bool) {
	if f == "" {
		return 0, second, true
	}
	if !allowed || len(f) > 6 {
		return 0, 0, false
	}
	n, err := strconv.ParseUint(f, 10, 32)
	if err != nil {
		return 0, 0, false
	}
	width = second
	for range len(f) {
		width /= 10
	}
	return int64(n) * width, width, true
}

// parseDT takes YYYY[MM[DD[HH[MM[SS[.F]]]]]][&ZZXX]; without an offset it is
// taken as UTC, as all such values are.
func parseDT(s string) (span, bool) {
	s, offset, ok := cutOffset(s)
	if !ok {
		return span{}, false
	}
	digits, fraction, _ := strings.Cut(s, ".")
	n, ok := fields(digits, 4, 2, 2, 2, 2, 2)
	if !ok {
		return span{}, false
	}
	micros, width, ok := parseFraction(fraction, len(digits) == 14)
	if !ok {
		return span{}, false
	}
	from, ok := calendar(n, len(digits))
	if !ok {
		return span{}, false
	}
	var to time.Time
	switch len(digits) {
	case 4:
		to = from.AddDate(1, 0, 0)
	case 6:
		to = from.AddDate(0, 1, 0)
	case 8:
		to = from.AddDate(0, 0, 1)
	case 10:
		to = from.Add(time.Hour)
	case 12:
		to = from.Add(time.Minute)
	default:
		start := from.UnixMicro() + micros - offset
		return span{start, start + width - 1}, true
	}
	return span{from.UnixMicro() - offset, to.UnixMicro() - offset - 1}, true
}

// calendar is the beginning of what the first so many digits of a DT say.
func calendar(n [6]int, digits int) (time.Time, bool) {
	if digits < 6 {
		n[1] = 1
	}
	if digits < 8 {
		n[2] = 1
	}
	if n[1] < 1 || n[1] > 12 || n[2] < 1 || n[3] > 23 || n[4] > 59 || n[5] > 60 {
		return time.Time{}, false
	}
	day := time.Date(n[0], time.Month(n[1]), n[2], 0, 0, 0, 0, time.UTC)
	if day.Day() != n[2] { // the month has no such day
		return time.Time{}, false
	}
	return day.Add(time.Duration(n[3])*time.Hour + time.Duration(n[4])*time.Minute + time.Duration(n[5])*time.Second), true
}

// cutOffset cuts the offset from UTC off a DT. A hyphen before four digits is
// one only up to -1200, which no year can be taken for.
func cutOffset(s string) (rest string, micros int64, ok bool) {
	if len(s) < 5 {
		return s, 0, true
	}
	sign := s[len(s)-5]
	if sign != '+' && sign != '-' {
		return s, 0, true
	}
	n, valid := fields(s[len(s)-4:], 2, 2)
	if !valid || n[0] > 14 || sign == '-' && n[0] > 12 || n[1] > 59 {
		return s, 0, sign == '-'
	}
	micros = (int64(n[0])*3600 + int64(n[1])*60) * second
	if sign == '-' {
		micros = -micros
	}
	return s[:len(s)-5], micros, true
}

// fields cuts digits into numbers of the given widths; the later ones may be
// missing.
func fields(digits string, widths ...int) (n [6]int, ok bool) {
	if digits == "" {
		return n, false
	}
	for i, w := range widths {
		if digits == "" {
			return n, true
		}
		if len(digits) < w {
			return n, false
		}
		for _, c := range []byte(digits[:w]) {
			if c < '0' || c > '9' {
				return n, false
			}
			n[i] = n[i]*10 + int(c-'0')
		}
		digits = digits[w:]
	}
	return n, digits == ""
}

// holds tells whether the value lies in the range: whether all that it may
// mean does, as single values do; one that is less precise than the range's
// ends counts by its beginning.
func (r span) holds(value span) bool { return value.from >= r.from && value.from <= r.to }

func clip(s string) string {
	const most = 80
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
