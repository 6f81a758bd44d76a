package dicom

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
)

// set is a character set that an escape sequence designates.
type set uint8

const (
	setASCII set = iota
	setTable     // a single-byte set, in iso2022.table
	setKatakana
	setJISX0208
	setJISX0212
	setKSX1001
	setGB2312
)

// multiByteG1 is the multi-byte set that an ISO-IR number designates to G1.
func multiByteG1(name string) set {
	switch name {
	case "149":
		return setKSX1001
	case "58":
		return setGB2312
	}
	return setASCII
}

// iso2022 is the state of code extension inside a value (PS3.5 §6.1.2.5).
type iso2022 struct {
	out   strings.Builder
	g0    set
	g1    set
	table *charmap.Charmap // of G1 when it is setTable
}

func (cs *charset) reset(s *iso2022) {
	s.g0, s.g1, s.table = setASCII, cs.g1, nil
	switch {
	case cs.katakana:
		s.g1 = setKatakana
	case cs.table != nil:
		s.g1, s.table = setTable, cs.table
	}
}

// decodeExtended decodes text in which escape sequences switch character
// sets, back to the first one at every delimiter.
func (cs *charset) decodeExtended(raw []byte, person bool) string {
	var s iso2022
	cs.reset(&s)
	for len(raw) > 0 {
		c := raw[0]
		if n := s.escape(raw); n > 0 {
			raw = raw[n:]
			continue
		}
		if c < 0x20 || s.g0 < setJISX0208 && delimiter(c, person) {
			cs.reset(&s)
			s.out.WriteByte(c)
			raw = raw[1:]
			continue
		}
		raw = raw[s.character(raw):]
	}
	return s.out.String()
}

func delimiter(c byte, person bool) bool {
	return c == '\\' || person && (c == '^' || c == '=')
}

// escape follows an escape sequence at the beginning of raw and returns its
// length; 0 when there is none. Unknown ones are left out of the text.
func (s *iso2022) escape(raw []byte) int {
	if raw[0] != 0x1B {
		return 0
	}
	sequence := raw[1:min(len(raw), 4)]
	switch {
	case bytes.HasPrefix(sequence, []byte("$B")), bytes.HasPrefix(sequence, []byte("$@")):
		s.g0 = setJISX0208
		return 3
	case bytes.HasPrefix(sequence, []byte("$(D")):
		s.g0 = setJISX0212
		return 4
	case bytes.HasPrefix(sequence, []byte("$)C")):
		s.g1 = setKSX1001
		return 4
	case bytes.HasPrefix(sequence, []byte("$)A")):
		s.g1 = setGB2312
		return 4
	case bytes.HasPrefix(sequence, []byte(")I")):
		s.g1 = setKatakana
		return 3
	case len(sequence) >= 2 && sequence[0] == '(':
		s.g0 = setASCII // (B, or (J, which is ASCII but for two signs
		return 3
	case len(sequence) >= 2 && sequence[0] == '-':
		if s.table = tableG1(sequence[1]); s.table != nil {
			s.g1 = setTable
		}
		return 3
	}
	return 1
}

// tableG1 is the set with the final byte of ESC 2D (PS3.3 §C.12.1.1.2).
func tableG1(final byte) *charmap.Charmap {
	switch final {
	case 'A':
		return singleByte("100")
	case 'B':
		return singleByte("101")
	case 'C':
		return singleByte("109")
	case 'D':
		return singleByte("110")
	case 'F':
		return singleByte("126")
	case 'G':
		return singleByte("127")
	case 'H':
		return singleByte("138")
	case 'L':
		return singleByte("144")
	case 'M':
		return singleByte("148")
	case 'T':
		return singleByte("166")
	case 'b':
		return singleByte("203")
	}
	return nil
}

// character decodes one character and returns its length.
func (s *iso2022) character(raw []byte) int {
	c := raw[0]
	if c < utf8.RuneSelf {
		switch {
		case s.g0 == setJISX0208 && len(raw) > 1:
			return s.pair(japanese.EUCJP, c|0x80, raw[1]|0x80)
		case s.g0 == setJISX0212 && len(raw) > 1:
			return s.pair(japanese.EUCJP, 0x8F, c|0x80, raw[1]|0x80)
		}
		s.out.WriteByte(c)
		return 1
	}
	switch s.g1 {
	case setTable:
		s.out.WriteRune(s.table.DecodeByte(c))
		return 1
	case setKatakana:
		if c >= 0xA1 && c <= 0xDF {
			s.out.WriteRune(0xFF61 + rune(c-0xA1))
			return 1
		}
	case setKSX1001:
		if len(raw) > 1 {
			return s.pair(korean.EUCKR, c, raw[1])
		}
	case setGB2312:
		if len(raw) > 1 {
			return s.pair(simplifiedchinese.GBK, c, raw[1])
		}
	}
	if r, n := utf8.DecodeRune(raw); r != utf8.RuneError {
		s.out.WriteRune(r)
		return n
	}
	s.out.WriteRune(rune(c)) // Latin-1
	return 1
}

// pair decodes one character of two bytes that was rewritten for an encoding.
func (s *iso2022) pair(e encoding.Encoding, b ...byte) int {
	text, err := e.NewDecoder().Bytes(b)
	if err != nil || len(text) == 0 {
		text = []byte("\uFFFD")
	}
	s.out.Write(text)
	return 2
}
