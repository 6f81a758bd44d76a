package dicom

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/simplifiedchinese"
)

// charset turns the text of a Data Set into UTF-8 (PS3.5 §6.1). It never
// fails: what SpecificCharacterSet does not explain is taken as UTF-8 if it is
// that, else as Latin-1. A nil charset is the default repertoire.
type charset struct {
	// whole decodes text that knows no escape sequences.
	whole encoding.Encoding
	utf8  bool
	// table is the single-byte set that is in force at the beginning of a
	// value; nil for ASCII.
	table *charmap.Charmap
	// katakana: bytes from A1 are JIS X 0201 half-width katakana.
	katakana bool
	// extended: escape sequences may switch to other sets.
	extended bool
	// g1 is the multi-byte set that is taken for bytes from 80 when a writer
	// left out the escape sequence for the only one that was announced.
	g1 set
}

// newCharset understands the values of SpecificCharacterSet, and the ways in
// which they are commonly misspelt. Unknown ones are as good as none.
func newCharset(terms []string) *charset {
	if len(terms) == 0 {
		return nil
	}
	cs := &charset{extended: len(terms) > 1}
	for i, term := range terms {
		name := canonicalTerm(term)
		if strings.HasPrefix(name, "2022") {
			cs.extended = true
			name = name[4:]
		}
		if i == 0 {
			cs.begin(name)
		}
		if g1 := multiByteG1(name); g1 != setASCII && cs.g1 == setASCII {
			cs.g1 = g1
		}
	}
	return cs
}

// inUTF8 is what SpecificCharacterSet says of text that was decoded, in place
// of the values it had.
func inUTF8(values []string) []string {
	if len(values) == 0 {
		return nil
	}
	return []string{"ISO_IR 192"}
}

// begin sets the character set that the first value names.
func (cs *charset) begin(name string) {
	switch name {
	case "192", "UTF8":
		cs.utf8 = true
	case "GB18030":
		cs.whole = simplifiedchinese.GB18030
	case "GBK", "GB2312":
		cs.whole = simplifiedchinese.GBK
	case "13":
		cs.katakana = true
	default:
		cs.table = singleByte(name)
	}
}

// canonicalTerm is the number of an ISO registration, preceded by 2022 for
// the terms with code extensions, or a name: "ISO_IR 100", "ISO_IR_100",
// "ISO-IR-100", "ISO 8859-1" and "iso ir 100" are all "100".
func canonicalTerm(term string) string {
	var b strings.Builder
	for _, c := range strings.ToUpper(term) {
		if c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
			b.WriteRune(c)
		}
	}
	name := b.String()
	if part, ok := strings.CutPrefix(name, "ISO8859"); ok {
		return registration(part)
	}
	if part, ok := strings.CutPrefix(name, "LATIN"); ok {
		return registration(part)
	}
	name = strings.TrimPrefix(name, "ISO")
	if rest, ok := strings.CutPrefix(name, "2022"); ok {
		return "2022" + strings.TrimPrefix(rest, "IR")
	}
	return strings.TrimPrefix(name, "IR")
}

// registration is the ISO-IR number of the right half of ISO 8859-part.
func registration(part string) string {
	switch part {
	case "1":
		return "100"
	case "2":
		return "101"
	case "3":
		return "109"
	case "4":
		return "110"
	case "5":
		return "144"
	case "6":
		return "127"
	case "7":
		return "126"
	case "8":
		return "138"
	case "9":
		return "148"
	case "11":
		return "166"
	case "15":
		return "203"
	}
	return ""
}

// singleByte is the table of an ISO-IR number, nil for ASCII and unknown ones.
func singleByte(name string) *charmap.Charmap {
	switch name {
	case "100":
		return charmap.ISO8859_1
	case "101":
		return charmap.ISO8859_2
	case "109":
		return charmap.ISO8859_3
	case "110":
		return charmap.ISO8859_4
	case "126":
		return charmap.ISO8859_7
	case "127":
		return charmap.ISO8859_6
	case "138":
		return charmap.ISO8859_8
	case "144":
		return charmap.ISO8859_5
	case "148":
		return charmap.ISO8859_9
	case "166":
		return charmap.Windows874
	case "203":
		return charmap.ISO8859_15
	}
	return nil
}

// decode returns raw in UTF-8; person tells that the delimiters of a person
// name end the reach of an escape sequence (PS3.5 §6.1.2.5.3).
func (cs *charset) decode(raw []byte, person bool) string {
	if plain(raw) {
		return string(raw)
	}
	switch {
	case cs == nil:
		return guess(raw)
	case cs.utf8:
		return strings.ToValidUTF8(string(raw), "\uFFFD")
	case cs.whole != nil:
		text, err := cs.whole.NewDecoder().Bytes(raw)
		if err != nil {
			return guess(raw)
		}
		return string(text)
	case cs.extended || cs.katakana:
		return cs.decodeExtended(raw, person)
	case cs.table != nil:
		return decodeTable(cs.table, raw)
	}
	return guess(raw)
}

// plain tells whether raw is ASCII without an escape sequence.
func plain(raw []byte) bool {
	const escape = 0x1B
	for _, c := range raw {
		if c >= utf8.RuneSelf || c == escape {
			return false
		}
	}
	return true
}

// guess is for text of which nothing is known.
func guess(raw []byte) string {
	if utf8.Valid(raw) {
		return string(raw)
	}
	return decodeTable(charmap.ISO8859_1, raw)
}

func decodeTable(table *charmap.Charmap, raw []byte) string {
	var b strings.Builder
	b.Grow(len(raw) + len(raw)/2)
	for _, c := range raw {
		b.WriteRune(table.DecodeByte(c))
	}
	return b.String()
}
