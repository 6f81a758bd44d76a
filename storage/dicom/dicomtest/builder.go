package dicomtest

import (
	"encoding/binary"
	"math"
)

// Undefined is the length FFFFFFFF of PS3.5 §7.1.
const Undefined = math.MaxUint32

// Builder appends Data Elements as it is told, legal or not. Its zero value
// writes Explicit VR Little Endian. Lengths of values are made even, unless
// Raw is used.
type Builder struct {
	Implicit bool
	Big      bool
	b        []byte
}

// Bytes is what was built so far.
func (b *Builder) Bytes() []byte { return b.b }

// Len is its length.
func (b *Builder) Len() int { return len(b.b) }

func (b *Builder) order() binary.AppendByteOrder {
	if b.Big {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

// Header appends a tag, a VR and a length, which may lie. Tags of group FFFE
// have no VR.
func (b *Builder) Header(tag uint32, vr string, length uint32) *Builder {
	o := b.order()
	b.b = o.AppendUint16(b.b, uint16(tag>>16))
	b.b = o.AppendUint16(b.b, uint16(tag))
	switch {
	case b.Implicit || tag>>16 == 0xFFFE:
		b.b = o.AppendUint32(b.b, length)
	case long(vr):
		b.b = append(b.b, vr[0], vr[1], 0, 0)
		b.b = o.AppendUint32(b.b, length)
	default:
		b.b = append(b.b, vr[0], vr[1])
		b.b = o.AppendUint16(b.b, uint16(length))
	}
	return b
}

func long(vr string) bool {
	switch vr {
	case "OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV":
		return true
	}
	return false
}

// Raw appends bytes as they are.
func (b *Builder) Raw(p ...byte) *Builder {
	b.b = append(b.b, p...)
	return b
}

// Text appends an element of text, padded with a space or, for UI, a NUL.
func (b *Builder) Text(tag uint32, vr, value string) *Builder {
	if len(value)&1 == 1 {
		if vr == "UI" {
			value += "\x00"
		} else {
			value += " "
		}
	}
	b.Header(tag, vr, uint32(len(value)))
	b.b = append(b.b, value...)
	return b
}

// US appends an element of 16-bit numbers.
func (b *Builder) US(tag uint32, values ...uint16) *Builder {
	b.Header(tag, "US", uint32(2*len(values)))
	for _, v := range values {
		b.b = b.order().AppendUint16(b.b, v)
	}
	return b
}

// UL appends an element of 32-bit numbers.
func (b *Builder) UL(tag uint32, values ...uint32) *Builder {
	b.Header(tag, "UL", uint32(4*len(values)))
	for _, v := range values {
		b.b = b.order().AppendUint32(b.b, v)
	}
	return b
}

// FD appends an element of double floats.
func (b *Builder) FD(tag uint32, values ...float64) *Builder {
	b.Header(tag, "FD", uint32(8*len(values)))
	for _, v := range values {
		b.b = b.order().AppendUint64(b.b, math.Float64bits(v))
	}
	return b
}

// Binary appends an element of bytes.
func (b *Builder) Binary(tag uint32, vr string, value []byte) *Builder {
	b.Header(tag, vr, uint32(len(value)+len(value)&1))
	b.b = append(b.b, value...)
	if len(value)&1 == 1 {
		b.b = append(b.b, 0)
	}
	return b
}

// Sequence appends a sequence of defined length; each function fills an item.
func (b *Builder) Sequence(tag uint32, items ...func(*Builder)) *Builder {
	in := &Builder{Implicit: b.Implicit, Big: b.Big}
	for _, fill := range items {
		item := &Builder{Implicit: b.Implicit, Big: b.Big}
		fill(item)
		in.Header(item0, "", uint32(item.Len())).Raw(item.b...)
	}
	return b.Header(tag, "SQ", uint32(in.Len())).Raw(in.b...)
}

// OpenSequence appends a sequence of undefined length.
func (b *Builder) OpenSequence(tag uint32, items ...func(*Builder)) *Builder {
	b.Header(tag, "SQ", Undefined)
	for _, fill := range items {
		b.Header(item0, "", Undefined)
		fill(b)
		b.Header(itemEnd, "", 0)
	}
	return b.Header(sequenceEnd, "", 0)
}

// Encapsulated appends PixelData of fragments behind a Basic Offset Table.
func (b *Builder) Encapsulated(offsets []uint32, fragments ...[]byte) *Builder {
	b.Header(PixelData, "OB", Undefined)
	b.Header(item0, "", uint32(4*len(offsets)))
	for _, o := range offsets {
		b.b = b.order().AppendUint32(b.b, o)
	}
	for _, f := range fragments {
		b.Header(item0, "", uint32(len(f)+len(f)&1)).Raw(f...)
		if len(f)&1 == 1 {
			b.Raw(0)
		}
	}
	return b.Header(sequenceEnd, "", 0)
}

const (
	item0       = 0xFFFEE000
	itemEnd     = 0xFFFEE00D
	sequenceEnd = 0xFFFEE0DD
	// PixelData is the tag of the pixels.
	PixelData = 0x7FE00010
)
