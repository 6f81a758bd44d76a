package ins

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"github.com/esante-alsace/cigogne/storage"
)

// Traits are the five strict traits: what must agree, beside the number, for
// two records to be of one person.
type Traits struct {
	BirthName  string
	GivenNames string // all of them, parted by spaces, in the order of birth
	BirthDate  string // YYYYMMDD
	Sex        string // M, F, or I where it is not determined
	BirthPlace string // five characters of the official code, 99… abroad
}

const (
	mostName      = 100
	dateLength    = 8
	placeLength   = 5
	mostMonth     = 12
	mostDay       = 31
	firstDayIndex = 6
)

// Validate returns nil, or an error that wraps storage.ErrInvalid and names the
// trait that is missing or malformed. No error repeats a value.
func (t Traits) Validate() error {
	for _, c := range []struct {
		trait string
		ok    bool
	}{
		{"birth name", validName(t.BirthName)},
		{"given names", validName(t.GivenNames)},
		{"birth date", validDate(t.BirthDate)},
		{"sex", t.Sex == "M" || t.Sex == "F" || t.Sex == "I"},
		{"birth place", validPlace(t.BirthPlace)},
	} {
		if !c.ok {
			return fmt.Errorf("%w: the strict trait %q is missing or malformed", storage.ErrInvalid, c.trait)
		}
	}
	return nil
}

func validName(s string) bool {
	return s != "" && len(s) <= 4*mostName && len([]rune(s)) <= mostName && len(nameWords(s)) > 0 &&
		!strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || r == unicode.ReplacementChar })
}

// validDate lets a month or a day of 00 pass, which is how a birth date is
// written of which only the rest is known.
func validDate(s string) bool {
	if len(s) != dateLength || strings.Trim(s, "0123456789") != "" {
		return false
	}
	month, day := int(s[4]-'0')*10+int(s[5]-'0'), int(s[6]-'0')*10+int(s[7]-'0')
	return s[:4] >= "1850" && month <= mostMonth && day <= mostDay
}

func validPlace(s string) bool {
	if len(s) != placeLength {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (i != 1 || c != 'A' && c != 'B') {
			return false
		}
	}
	return true
}

// Differ lists the traits that are not the same. Case, accents, hyphens and
// apostrophes of names do not count; the order of given names does.
func (t Traits) Differ(o Traits) []string {
	var differ []string
	for _, c := range []struct {
		trait string
		same  bool
	}{
		{"birth name", slices.Equal(nameWords(t.BirthName), nameWords(o.BirthName))},
		{"given names", slices.Equal(nameWords(t.GivenNames), nameWords(o.GivenNames))},
		{"birth date", t.BirthDate == o.BirthDate},
		{"sex", t.Sex == o.Sex},
		{"birth place", t.BirthPlace == o.BirthPlace},
	} {
		if !c.same {
			differ = append(differ, c.trait)
		}
	}
	return differ
}

// nameWords are the words of a name in capitals without accents.
func nameWords(name string) []string {
	letters := strings.Map(func(r rune) rune {
		switch {
		case unicode.Is(unicode.Mn, r):
			return -1
		case unicode.IsLetter(r) || unicode.IsDigit(r):
			return unicode.ToUpper(r)
		}
		return ' '
	}, norm.NFKD.String(strings.NewReplacer("œ", "oe", "Œ", "OE", "æ", "ae", "Æ", "AE", "ß", "ss").Replace(name)))
	return strings.Fields(letters)
}

// Shown is what a Data Set says of its patient.
type Shown struct {
	PatientName string // PN: component groups parted by '=', components by '^'
	BirthDate   string // DA
	Sex         string // CS
}

// Against lists the traits with which what a Data Set says cannot be: another
// birth date or sex, or a name without a word in common. It says less than the
// traits do, often a married name: what it leaves out or writes otherwise is
// no contradiction.
func (t Traits) Against(s Shown) []string {
	var differ []string
	if words := nameWords(s.PatientName); len(words) > 0 && !slices.ContainsFunc(words, func(w string) bool {
		return slices.Contains(nameWords(t.BirthName), w) || slices.Contains(nameWords(t.GivenNames), w)
	}) {
		differ = append(differ, "name")
	}
	if d := s.BirthDate; len(d) == dateLength && !sameDate(d, t.BirthDate) {
		differ = append(differ, "birth date")
	}
	if (s.Sex == "M" || s.Sex == "F") && t.Sex != "I" && s.Sex != t.Sex {
		differ = append(differ, "sex")
	}
	return differ
}

// sameDate compares dates as far as both are known.
func sameDate(a, b string) bool {
	for _, part := range [][2]int{{0, 4}, {4, firstDayIndex}, {firstDayIndex, dateLength}} {
		x, y := a[part[0]:part[1]], b[part[0]:part[1]]
		if x != y && x != "00" && y != "00" {
			return false
		}
	}
	return true
}
