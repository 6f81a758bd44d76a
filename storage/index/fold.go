package index

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// fold brings a person name to the form in which names are compared: without
// case, without the accents of Latin, Greek and Cyrillic letters, in one width
// of letters and with single spaces. The marks of kana and Hangul stay, since
// they make other syllables. '^', '=', '*' and '?' stay.
func fold(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD") // a query may be anything
	if folded, ok := foldASCII(s); ok {
		return folded
	}
	var b strings.Builder
	b.Grow(len(s))
	space := false
	for _, r := range norm.NFKD.String(s) {
		switch {
		case r >= 0x0300 && r <= 0x036F: // combining diacritical marks
		case unicode.IsSpace(r):
			space = true
		default:
			if space && b.Len() > 0 {
				b.WriteByte(' ')
			}
			space = false
			if t := transcribed(r); t != "" {
				b.WriteString(t)
			} else {
				b.WriteRune(unicode.ToUpper(r))
			}
		}
	}
	return trimComponents(norm.NFC.String(b.String()))
}

// foldASCII is fold for the many names that are plain.
func foldASCII(s string) (string, bool) {
	for i := range len(s) {
		if s[i] >= 0x80 || s[i] < ' ' {
			return "", false
		}
	}
	if strings.Contains(s, "  ") {
		s = strings.Join(strings.Fields(s), " ")
	}
	return trimComponents(strings.ToUpper(s)), true
}

// transcribed are the Latin letters that Unicode does not take apart.
func transcribed(r rune) string {
	switch r {
	case 'ß', 'ẞ':
		return "SS"
	case 'Œ', 'œ':
		return "OE"
	case 'Æ', 'æ':
		return "AE"
	case 'Ø', 'ø':
		return "O"
	case 'Ł', 'ł':
		return "L"
	case 'Đ', 'đ', 'Ð', 'ð':
		return "D"
	case 'Þ', 'þ':
		return "TH"
	case 'ı':
		return "I"
	case '’', 'ʼ':
		return "'"
	}
	return ""
}

// trimComponents removes the spaces around components and the '^' of empty
// ones at the end, which mean nothing (PS3.5 §6.2.1).
func trimComponents(s string) string {
	if strings.Contains(s, " ") {
		groups := strings.Split(s, "=")
		for i, g := range groups {
			parts := strings.Split(g, "^")
			for j, p := range parts {
				parts[j] = strings.Trim(p, " ")
			}
			groups[i] = strings.Join(parts, "^")
		}
		s = strings.Join(groups, "=")
	}
	if !strings.Contains(s, "^=") && !strings.HasSuffix(s, "^") {
		return strings.TrimRight(s, "=")
	}
	groups := strings.Split(s, "=")
	for i, g := range groups {
		groups[i] = strings.TrimRight(g, "^")
	}
	return strings.TrimRight(strings.Join(groups, "="), "=")
}

// nameGroups are the component groups of a folded name: alphabetic,
// ideographic, phonetic (PS3.5 §6.2.1.2).
func nameGroups(folded string) []string { return strings.Split(folded, "=") }

// nameWords are the words of a folded name or component group: what stands
// between '^', '=', spaces, hyphens, apostrophes, commas and full stops.
func nameWords(folded string) []string {
	return strings.FieldsFunc(folded, func(r rune) bool { return r == '*' || r == '?' || betweenWords(r) })
}

func betweenWords(r rune) bool {
	switch r {
	case '^', '=', ' ', '-', '\'', ',', '.', '・', '･':
		return true
	}
	return false
}
