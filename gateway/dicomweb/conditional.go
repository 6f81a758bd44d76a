package dicomweb

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/esante-alsace/cigogne/storage"
)

// askedRange reads Range and If-Range: a single range, or false for the whole.
// What is not understood, and several ranges at once, are ignored as RFC 9110
// §14.2 allows, and all that is not a GET, as it demands; a range beyond the end
// is an error that makes a 416.
func askedRange(r *http.Request, etag string, size int64) (storage.Range, bool, error) {
	first, last, ok := parseRange(r.Header.Get("Range"))
	if !ok || r.Method != http.MethodGet {
		return storage.Range{}, false, nil
	}
	if condition := r.Header.Get("If-Range"); condition != "" && (condition != etag || strings.HasPrefix(etag, "W/")) {
		return storage.Range{}, false, nil
	}
	if first < 0 { // the last bytes
		first, last = max(0, size-last), size-1
	}
	last = min(last, size-1)
	if first > last {
		return storage.Range{}, false, answerWith(http.StatusRequestedRangeNotSatisfiable,
			fmt.Errorf("%w: the range lies beyond the end", storage.ErrInvalid))
	}
	return storage.Range{Offset: first, Length: last - first + 1}, true, nil
}

// parseRange reads a Range header of one range of bytes (RFC 9110 §14.1.2): the
// first and the last byte, or -1 and the number of bytes at the end.
func parseRange(header string) (first, last int64, ok bool) {
	spec, ok := strings.CutPrefix(header, "bytes=")
	from, to, dash := strings.Cut(strings.TrimSpace(spec), "-")
	if !ok || !dash {
		return 0, 0, false
	}
	first, last = -1, 1<<63-1
	if from != "" {
		if first, ok = position(from); !ok {
			return 0, 0, false
		}
	}
	if to != "" {
		if last, ok = position(to); !ok {
			return 0, 0, false
		}
	}
	return first, last, (from != "" || to != "") && first <= last
}

func position(s string) (int64, bool) {
	n, err := strconv.ParseUint(s, 10, 63)
	return int64(n), err == nil
}

// matches is the weak comparison of If-None-Match (RFC 9110 §13.1.2).
func matches(lines []string, etag string) bool {
	etag = strings.TrimPrefix(etag, "W/")
	for _, line := range lines {
		for candidate := range split(line, ',') {
			if candidate == "*" || strings.TrimPrefix(candidate, "W/") == etag {
				return true
			}
		}
	}
	return false
}

// matchesStrongly is the strong comparison of If-Match (RFC 9110 §13.1.1): a weak
// tag is like no other.
func matchesStrongly(lines []string, etag string) bool {
	for _, line := range lines {
		for candidate := range split(line, ',') {
			if candidate == "*" || candidate == etag && strings.HasPrefix(etag, `"`) {
				return true
			}
		}
	}
	return false
}
