package pdu

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/esante-alsace/cigogne/storage"
)

// The types of items and sub-items of the A-ASSOCIATE PDUs (PS3.8 §9.3.2,
// PS3.7 §D.3.3).
const (
	itemApplicationContext        = 0x10
	itemContextRQ                 = 0x20
	itemContextAC                 = 0x21
	itemAbstractSyntax            = 0x30
	itemTransferSyntax            = 0x40
	itemUserInformation           = 0x50
	itemMaxLength                 = 0x51
	itemImplementationClass       = 0x52
	itemAsyncWindow               = 0x53
	itemRole                      = 0x54
	itemImplementationVersion     = 0x55
	itemExtendedNegotiation       = 0x56
	itemCommonExtended            = 0x57
	itemUserIdentity              = 0x58
	itemUserIdentityResponse      = 0x59
	aeTitleLength                 = 16
	associateReserved             = 32
	maxItemLength             int = math.MaxUint16
)

// cursor walks over bytes that a peer sent. After its end it yields zeros and
// remembers that it was asked for more than there is.
type cursor struct {
	b     []byte
	short bool
}

func (c *cursor) take(n int) []byte {
	if n > len(c.b) {
		c.short, c.b = true, nil
		return nil
	}
	v := c.b[:n]
	c.b = c.b[n:]
	return v
}

func (c *cursor) byte() byte {
	if v := c.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (c *cursor) uint16() uint16 {
	if v := c.take(2); v != nil {
		return binary.BigEndian.Uint16(v)
	}
	return 0
}

func (c *cursor) uint32() uint32 {
	if v := c.take(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

// field takes a value that is preceded by its length in two bytes.
func (c *cursor) field() []byte { return c.take(int(c.uint16())) }

func (c *cursor) uid() string { return uid(c.field()) }

// item takes an item: its type, the byte that is reserved in most items, and
// its value.
func (c *cursor) item() (kind, reserved byte, value cursor) {
	kind, reserved = c.byte(), c.byte()
	return kind, reserved, cursor{b: c.field()}
}

// end is the error of a value that was cut short or is longer than what it
// says, or nil.
func (c *cursor) end(what string) error {
	switch {
	case c.short:
		return invalid("%s is cut short", what)
	case len(c.b) > 0:
		return invalid("%s has %d bytes too many", what, len(c.b))
	default:
		return nil
	}
}

// uid is the text of a UID without the padding that some peers send.
func uid(b []byte) string { return strings.TrimRight(string(b), "\x00 ") }

// Title is an AE title without the spaces that mean nothing (PS3.5 §6.2). One
// that is not of the default repertoire, as some modalities have it, is UTF-8,
// or else ISO 8859-1: a title is always text.
func Title(b []byte) string {
	b = bytes.Trim(b, "\x00 ")
	if utf8.Valid(b) {
		return string(b)
	}
	text := make([]rune, len(b))
	for i, c := range b {
		text[i] = rune(c)
	}
	return string(text)
}

// TitleBytes is the inverse of Title.
func TitleBytes(title string) []byte {
	var latin []byte
	for _, r := range title {
		if r > 0xFF {
			return []byte(title)
		}
		latin = append(latin, byte(r))
	}
	if utf8.Valid(latin) {
		return []byte(title)
	}
	return latin
}

func appendAETitle(b []byte, title string) []byte {
	var padded [aeTitleLength]byte
	for i := copy(padded[:], TitleBytes(title)); i < len(padded); i++ {
		padded[i] = ' '
	}
	return append(b, padded[:]...)
}

// writer builds items. Its error is that of the first value that did not fit.
type writer struct {
	b   []byte
	err error
}

// item appends an item whose value is what fill appends.
func (w *writer) item(kind, reserved byte, fill func()) {
	w.b = append(w.b, kind, reserved)
	w.sized(fill)
}

// sized appends a length in two bytes and what fill appends.
func (w *writer) sized(fill func()) {
	at := len(w.b)
	w.b = append(w.b, 0, 0)
	fill()
	n := len(w.b) - at - 2
	if n > maxItemLength {
		w.fail(n)
		return
	}
	binary.BigEndian.PutUint16(w.b[at:], uint16(n))
}

func (w *writer) fail(n int) {
	if w.err == nil {
		w.err = fmt.Errorf("%w: DICOM upper layer: an item of %d bytes", storage.ErrTooLarge, n)
	}
}

func (w *writer) text(s string) { w.b = append(w.b, s...) }

func (w *writer) field(v []byte) { w.sized(func() { w.b = append(w.b, v...) }) }

func (w *writer) uid(s string) { w.sized(func() { w.text(s) }) }
