package dicomweb

import (
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/esante-alsace/cigogne/storage"
)

// mediaType is a media type with the parameters that DICOMweb gives a meaning
// (PS3.18 §8.7.3). It is parsed leniently: real clients write
// `type=application/dicom` without the quotes that RFC 9110 asks for.
type mediaType struct {
	name           string // lower case, such as "multipart/related" or "*/*"
	kind           string // the parameter type, lower case
	transferSyntax string
	boundary       string
	q              float64 // 1 when not given
}

// parseMediaType returns false for what has no type/subtype.
func parseMediaType(s string) (mediaType, bool) {
	m := mediaType{q: 1}
	first := true
	for field := range split(s, ';') {
		if first {
			first = false
			if m.name = strings.ToLower(field); m.name == "*" { // as old Java clients write
				m.name = "*/*"
			}
			continue
		}
		key, value, _ := strings.Cut(field, "=")
		value = unquote(strings.TrimSpace(value))
		switch strings.ToLower(strings.TrimSpace(key)) {
		case "type":
			m.kind = strings.ToLower(value)
		case "transfer-syntax":
			m.transferSyntax = value
		case "boundary":
			m.boundary = value
		case "q":
			if q, err := strconv.ParseFloat(value, 64); err == nil && q >= 0 && q < 1 {
				m.q = q
			}
		}
	}
	left, right, ok := strings.Cut(m.name, "/")
	return m, ok && left != "" && right != ""
}

// parseAccept reads the lines of an Accept header. Elements that are empty or
// no media type are skipped.
func parseAccept(lines []string, most int) ([]mediaType, error) {
	var accepted []mediaType
	for _, line := range lines {
		if most -= len(line); most < 0 {
			return nil, fmt.Errorf("%w: Accept is too long", storage.ErrInvalid)
		}
		for element := range split(line, ',') {
			if m, ok := parseMediaType(element); ok {
				accepted = append(accepted, m)
			}
		}
	}
	return accepted, nil
}

// split yields the trimmed fields of s between separators that stand outside
// of quoted strings.
func split(s string, separator byte) iter.Seq[string] {
	return func(yield func(string) bool) {
		begin, quoted := 0, false
		for i := 0; i < len(s); i++ {
			switch c := s[i]; {
			case c == '\\' && quoted:
				i++
			case c == '"':
				quoted = !quoted
			case c == separator && !quoted:
				if !yield(strings.TrimSpace(s[begin:i])) {
					return
				}
				begin = i + 1
			}
		}
		yield(strings.TrimSpace(s[begin:]))
	}
}

// unquote takes the quotes off a quoted string (RFC 9110 §5.6.4).
func unquote(s string) string {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return s
	}
	s = s[1 : len(s)-1]
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// offer is a representation that a resource has.
type offer struct {
	name string // media type
	kind string // of the parts, for multipart/related
	// syntax tells whether the transfer-syntax parameter of a request lets
	// this representation pass; nil when it has none.
	syntax func(asked string) bool
}

func (o offer) String() string {
	if o.kind == "" {
		return o.name
	}
	return fmt.Sprintf("%s; type=%q", o.name, o.kind)
}

// fit says how specifically a media type of Accept names the offer, 0 when it
// does not.
func (o offer) fit(m mediaType) int {
	if o.syntax != nil && !o.syntax(m.transferSyntax) {
		return 0
	}
	major, _, _ := strings.Cut(o.name, "/")
	switch {
	case m.name == "*/*":
		return 1
	case m.name == major+"/*":
		return 2
	case m.name != o.name:
		return 0
	case m.kind == "" || m.kind == "*/*" || o.kind == "":
		return 3
	case m.kind == o.kind:
		return 4
	}
	return 0
}

// quality is the q of the media type that names the offer most specifically.
func (o offer) quality(accepted []mediaType) float64 {
	best, q := 0, 0.0
	for _, m := range accepted {
		if fit := o.fit(m); fit > best || fit == best && fit > 0 && m.q > q {
			best, q = fit, m.q
		}
	}
	return q
}

// negotiate returns the index of the offer that the client likes best; among
// equals the first. A query parameter accept takes the place of the header
// (PS3.18 §8.3.3.1), no Accept at all takes the first. When nothing fits the
// error makes a 406 that says what could be had; hint, when not empty, says
// more.
func (s *service) negotiate(r *http.Request, offers []offer, hint string) (int, error) {
	lines := r.Header.Values("Accept")
	if asked := acceptInQuery(r.URL.RawQuery); len(asked) > 0 {
		lines = asked
	}
	accepted, err := parseAccept(lines, s.Limits.MaxAccept)
	if err != nil {
		return 0, err
	}
	if len(accepted) == 0 && strings.TrimSpace(strings.Join(lines, "")) == "" {
		return 0, nil
	}
	best, most := -1, 0.0
	for i, o := range offers {
		if q := o.quality(accepted); q > most {
			best, most = i, q
		}
	}
	if best < 0 {
		return 0, notAcceptable(offers, hint)
	}
	return best, nil
}

// acceptInQuery are the values of the query parameter accept. Clients write its
// media types as they are, and mean plus signs and semicolons, which as a form
// would be spaces and are refused; what a form makes of a space stands where no
// plus sign can.
func acceptInQuery(raw string) (values []string) {
	if !strings.Contains(raw, "accept=") {
		return nil
	}
	for field := range strings.SplitSeq(raw, "&") {
		name, value, _ := strings.Cut(field, "=")
		if value, err := url.PathUnescape(value); name == "accept" && err == nil {
			values = append(values, strings.NewReplacer(";+", "; ", ",+", ", ").Replace(value))
		}
	}
	return values
}

func notAcceptable(offers []offer, hint string) error {
	names := make([]string, len(offers))
	for i, o := range offers {
		names[i] = o.String()
	}
	text := "Accept allows nothing that can be had here: " + strings.Join(names, ", ")
	if hint != "" {
		text += "; " + hint
	}
	return answerWith(http.StatusNotAcceptable, fmt.Errorf("%w: %s", storage.ErrUnsupported, text))
}
