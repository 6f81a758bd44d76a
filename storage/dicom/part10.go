package dicom

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/esante-alsace/cigogne/storage"
)

const (
	preambleLength = 128
	magic          = "DICM"
	maxMeta        = 64 << 10 // of preamble and File Meta Information
)

// Part10 is what stands before the Data Set in a PS3.10 file.
type Part10 struct {
	// Prefix is preamble and File Meta Information as they came. It is empty
	// for a bare Data Set: whoever keeps that writes a prefix of its own with
	// AppendFileMeta.
	Prefix []byte
	// Meta is what they say, as far as they do. Its TransferSyntaxUID is never
	// empty: see Guessed.
	Meta FileMeta
	// Guessed tells that no TransferSyntaxUID was given and that it was told
	// from the Data Set's first element: Implicit or Explicit VR, Little
	// Endian or Big.
	Guessed bool
}

// ReadPart10 reads up to the Data Set, at whose first byte it leaves r. It
// takes files without preamble, without File Meta Information, and with a
// missing or wrong group length; what looks like neither a file nor a Data Set
// is refused with an error that wraps storage.ErrInvalid, as is File Meta
// Information that names two transfer syntaxes. It reads at most 64 KiB and
// passes on errors of r.
func ReadPart10(r *bufio.Reader) (*Part10, error) {
	p := &Part10{}
	m := metaReader{r: r, part10: p}
	head, err := r.Peek(preambleLength + len(magic))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if len(head) == preambleLength+len(magic) && string(head[preambleLength:]) == magic {
		if err := m.take(len(head)); err != nil {
			return nil, err
		}
	} else if bytes.HasPrefix(head, []byte(magic)) {
		if err := m.take(len(magic)); err != nil {
			return nil, err
		}
	}
	for {
		more, err := m.element()
		if err != nil {
			return nil, err
		}
		if !more {
			break
		}
	}
	if p.Meta.TransferSyntaxUID == "" {
		p.Guessed = true
		if p.Meta.TransferSyntaxUID, err = guessTransferSyntax(r); err != nil {
			return nil, err
		}
	}
	return p, nil
}

type metaReader struct {
	r      *bufio.Reader
	part10 *Part10
}

// take moves n bytes to the prefix.
func (m *metaReader) take(n int) error {
	p := m.part10
	if len(p.Prefix)+n > maxMeta {
		return fmt.Errorf("%w: File Meta Information is longer than %d bytes", storage.ErrInvalid, maxMeta)
	}
	from := len(p.Prefix)
	p.Prefix = append(p.Prefix, make([]byte, n)...)
	if _, err := io.ReadFull(m.r, p.Prefix[from:]); err != nil {
		if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("%w: the file ends inside File Meta Information", storage.ErrInvalid)
		}
		return err
	}
	return nil
}

// element takes the next element if it is one of group 0002.
func (m *metaReader) element() (bool, error) {
	h, err := m.r.Peek(12)
	if err != nil && err != io.EOF {
		return false, err
	}
	if len(h) < 8 || h[0] != 2 || h[1] != 0 {
		return false, nil
	}
	size, length := 8, binary.LittleEndian.Uint32(h[4:])
	switch vr := vrOf(h[4], h[5]); {
	case vr == "": // Implicit VR, which the standard does not allow here
	case !vr.longForm():
		length = uint32(binary.LittleEndian.Uint16(h[6:]))
	case len(h) < 12:
		return false, fmt.Errorf("%w: the file ends inside File Meta Information", storage.ErrInvalid)
	default:
		size, length = 12, binary.LittleEndian.Uint32(h[8:])
	}
	number := binary.LittleEndian.Uint16(h[2:])
	if length > maxMeta {
		return false, fmt.Errorf("%w: element %s has %d bytes", storage.ErrInvalid, Tag(0x00020000|uint32(number)), length)
	}
	if err := m.take(size); err != nil {
		return false, err
	}
	from := len(m.part10.Prefix)
	if err := m.take(int(length)); err != nil {
		return false, err
	}
	before := m.part10.Meta.TransferSyntaxUID
	m.part10.Meta.set(number, m.part10.Prefix[from:])
	if before != "" && before != m.part10.Meta.TransferSyntaxUID {
		// Readers differ in which one they go by, and so in what they read.
		return false, fmt.Errorf("%w: File Meta Information names two transfer syntaxes", storage.ErrInvalid)
	}
	return true, nil
}

func (m *FileMeta) set(element uint16, value []byte) {
	text := strings.Trim(string(value), " \x00")
	switch element {
	case 0x02:
		m.SOPClassUID = text
	case 0x03:
		m.SOPInstanceUID = text
	case 0x10:
		m.TransferSyntaxUID = text
	case 0x12:
		m.ImplementationClassUID = text
	case 0x13:
		m.ImplementationVersionName = text
	case 0x16:
		m.SourceAETitle = text
	}
}

// guessTransferSyntax looks at the first element of a Data Set. It must be a
// small one, in one of the groups with which Data Sets begin.
func guessTransferSyntax(r *bufio.Reader) (string, error) {
	h, err := r.Peek(12)
	if len(h) < 8 && err == io.EOF {
		return "", fmt.Errorf("%w: neither a PS3.10 file nor a Data Set", storage.ErrInvalid)
	} else if err != nil && err != io.EOF {
		return "", err
	}
	const firstGroups, smallValue = 0x0010, 64 << 10
	explicit := vrOf(h[4], h[5]) != ""
	little, big := binary.LittleEndian.Uint16(h), binary.BigEndian.Uint16(h)
	switch {
	case little > 0 && little <= firstGroups && explicit:
		return ExplicitVRLittleEndian, nil
	case big > 0 && big <= firstGroups && explicit:
		return ExplicitVRBigEndian, nil
	case little > 0 && little <= firstGroups && binary.LittleEndian.Uint32(h[4:]) < smallValue,
		bytes.Equal(h[4:], []byte{0xFF, 0xFF, 0xFF, 0xFF, 0xFE, 0xFF, 0x00, 0xE0}): // a sequence
		return ImplicitVRLittleEndian, nil
	}
	return "", fmt.Errorf("%w: neither a PS3.10 file nor a Data Set", storage.ErrInvalid)
}
