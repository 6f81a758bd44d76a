package index

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
)

// text is single value matching of all but person names: case counts.
type text string

func (t text) match(v string) bool { return v == string(t) }

// anyOf is satisfied by one of several.
type anyOf []matcher

func (a anyOf) match(v string) bool {
	for _, m := range a {
		if m.match(v) {
			return true
		}
	}
	return false
}

func wantText(value string) matcher {
	if hasWildcard(value) {
		return newWildcard(value)
	}
	return text(value)
}

// eachOf takes a backslash as 'or': it cannot be inside a value of these VRs.
func eachOf(value string, want func(string) matcher) matcher {
	if !strings.Contains(value, `\`) {
		return want(value)
	}
	var any anyOf
	for v := range strings.SplitSeq(value, `\`) {
		if v = strings.TrimSpace(v); v != "" {
			any = append(any, want(v))
		}
	}
	return any
}

// number compares by value, so that 1 is 01 and 1.0.
type number struct {
	is   float64
	text string
}

func wantNumber(value string) matcher {
	n, err := strconv.ParseFloat(value, 64)
	if err != nil {
		return wantText(value)
	}
	return number{n, value}
}

func (n number) match(v string) bool {
	if v == n.text {
		return true
	}
	f, err := strconv.ParseFloat(v, 64)
	return err == nil && f == n.is
}

// uids is list of UID matching (PS3.4 §C.2.2.2.2).
type uids map[string]struct{}

func (u uids) match(v string) bool {
	_, ok := u[v]
	return ok
}

// list is the UIDs sorted.
func (u uids) list() []string {
	out := make([]string, 0, len(u))
	for uid := range u {
		out = append(out, uid)
	}
	slices.Sort(out)
	return out
}

// wantUIDs takes a list parted by backslashes, as in DICOM, or by commas, as
// in DICOMweb. There are no wildcards in UIDs.
func wantUIDs(value string) (matcher, error) {
	u := make(uids)
	for uid := range strings.FieldsFuncSeq(value, func(r rune) bool { return r == '\\' || r == ',' }) {
		uid = strings.Trim(uid, " \x00")
		if uid == "" {
			continue
		}
		if !storage.ValidUID(uid) {
			return nil, fmt.Errorf("%w: %q is not a UID", storage.ErrInvalid, clip(uid))
		}
		u[uid] = struct{}{}
	}
	if len(u) == 0 {
		return nil, fmt.Errorf("%w: an empty list of UID", storage.ErrInvalid)
	}
	return u, nil
}

type wantRange struct {
	vr   dicom.VR
	span span
}

func (w wantRange) match(v string) bool {
	value, ok := parseTemporal(w.vr, v)
	return ok && w.span.holds(value)
}

// name matches person names without regard to case and accents, against each
// of the three component groups, or group by group when the key has several.
type name struct {
	groups []matcher // nil for a group that is not asked for
	whole  bool      // the key is one group, and any may match
}

func (n name) match(v string) bool {
	groups := nameGroups(fold(v))
	if n.whole {
		for _, g := range groups {
			if n.groups[0].match(g) {
				return true
			}
		}
		return false
	}
	for i, want := range n.groups {
		if want != nil && (i >= len(groups) || !want.match(groups[i])) {
			return false
		}
	}
	return true
}

// words is fuzzy semantic matching: each begins some word of the name, or lies
// in one where there is a '*' before it.
type words []*wildcard

func (w words) match(v string) bool {
	has := nameWords(fold(v))
	for _, want := range w {
		if !slices.ContainsFunc(has, want.match) {
			return false
		}
	}
	return true
}

// wantWords parts a key at its stars, too: what they find in a name as a whole
// is found in its words.
func wantWords(folded string) (w words) {
	for word := range strings.FieldsFuncSeq(folded, betweenWords) {
		before := ""
		for part := range strings.SplitSeq(word, "*") {
			if part != "" {
				w = append(w, newWildcard(before+part+"*"))
			}
			before = "*"
		}
	}
	return w
}

func wantName(value string, fuzzy bool) matcher {
	folded := fold(value)
	if fuzzy {
		if w := wantWords(folded); len(w) > 0 {
			return w
		}
		return nil
	}
	groups := nameGroups(folded)
	n := name{whole: len(groups) == 1}
	for _, g := range groups {
		if strings.Trim(g, "*") == "" && !n.whole {
			n.groups = append(n.groups, nil)
			continue
		}
		n.groups = append(n.groups, wantGroup(g))
	}
	return n
}

// openGroup is a wildcard whose end matches no components as well.
type openGroup struct {
	*wildcard
	bare matcher // without that end
}

func (o openGroup) match(v string) bool { return o.wildcard.match(v) || o.bare.match(v) }

// wantGroup is what a component group must be: 'OB^*' is also 'OB', which may
// be written 'OB^^^^' (PS3.5 §6.2.1.1).
func wantGroup(g string) matcher {
	for strings.HasSuffix(g, "**") || strings.HasSuffix(g, "*^*") {
		g = strings.TrimSuffix(strings.TrimSuffix(g, "*"), "^") // the last part adds nothing
	}
	if before, open := strings.CutSuffix(g, "^*"); open {
		return openGroup{newWildcard(g), wantText(strings.TrimRight(before, "^"))}
	}
	return wantText(g)
}
