package index

import (
	"strings"
	"unicode/utf8"
)

// wildcard is a value with '*' for any characters and '?' for any one
// (PS3.4 §C.2.2.2.4), taken apart at its stars. Everything else is literal.
type wildcard struct {
	// parts stand between the stars: the first begins the value when open is
	// not set at that end, the others follow in order.
	parts               []part
	openLeft, openRight bool
}

// part is a run without stars.
type part struct {
	text   string
	any    bool // it has a '?'
	length int  // in characters
}

func hasWildcard(s string) bool { return strings.ContainsAny(s, "*?") }

func newWildcard(s string) *wildcard {
	w := &wildcard{openLeft: strings.HasPrefix(s, "*"), openRight: strings.HasSuffix(s, "*")}
	for p := range strings.SplitSeq(s, "*") {
		if p != "" {
			w.parts = append(w.parts, part{p, strings.Contains(p, "?"), utf8.RuneCountInString(p)})
		}
	}
	return w
}

// prefix is the literal text that every match begins with.
func (w *wildcard) prefix() string {
	if w.openLeft || len(w.parts) == 0 {
		return ""
	}
	before, _, _ := strings.Cut(w.parts[0].text, "?")
	return before
}

// match tries each part at its leftmost place, which is enough: it takes time
// proportional to the value's length times the longest part, however many
// stars there are.
func (w *wildcard) match(s string) bool {
	parts := w.parts
	if len(parts) == 0 {
		return w.openLeft || s == ""
	}
	if !w.openLeft {
		n := parts[0].at(s)
		if n < 0 {
			return false
		}
		s, parts = s[n:], parts[1:]
		if len(parts) == 0 {
			return w.openRight || s == ""
		}
	}
	last := len(parts)
	if !w.openRight {
		last--
	}
	for _, p := range parts[:last] {
		end := p.find(s)
		if end < 0 {
			return false
		}
		s = s[end:]
	}
	return w.openRight || parts[last].ends(s)
}

// at returns how many bytes of s the part takes at its beginning, or -1.
func (p part) at(s string) int {
	if !p.any {
		if strings.HasPrefix(s, p.text) {
			return len(p.text)
		}
		return -1
	}
	i := 0
	for pattern := p.text; pattern != ""; {
		want, n := utf8.DecodeRuneInString(pattern)
		if i >= len(s) {
			return -1
		}
		_, m := utf8.DecodeRuneInString(s[i:])
		if want != '?' && pattern[:n] != s[i:i+m] {
			return -1
		}
		pattern, i = pattern[n:], i+m
	}
	return i
}

// find returns where the leftmost occurrence of the part in s ends, or -1.
func (p part) find(s string) int {
	if !p.any {
		i := strings.Index(s, p.text)
		if i < 0 {
			return -1
		}
		return i + len(p.text)
	}
	for i := 0; i < len(s); {
		if n := p.at(s[i:]); n >= 0 {
			return i + n
		}
		_, m := utf8.DecodeRuneInString(s[i:])
		i += m
	}
	return -1
}

// ends tells whether s ends with the part.
func (p part) ends(s string) bool {
	if !p.any {
		return strings.HasSuffix(s, p.text)
	}
	i := len(s)
	for range p.length {
		if i == 0 {
			return false
		}
		_, m := utf8.DecodeLastRuneInString(s[:i])
		i -= m
	}
	return p.at(s[i:]) == len(s)-i
}
