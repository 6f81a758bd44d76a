package pusher

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
)

// item is an instance in a file.
type item struct {
	source
	key    storage.InstanceKey
	prefix int64  // what precedes the Data Set, in bytes
	study  *study // what the gateway has of its study
	tries  int    // how often it was sent
}

var (
	// errForeign: the file is no DICOM file at all.
	errForeign = errors.New("not a DICOM file")
	// errDirectory: what it refers to lies in the same folder, and is found.
	errDirectory = errors.New("a DICOMDIR, which holds no image")
)

const (
	// A PS3.10 file has magic behind its preamble.
	preamble, magic = 128, "DICM"
	// headBytes is how much of a file is read at once for its names, and
	// mostHead where they must be found: they stand near the beginning.
	headBytes = 64 << 10
	mostHead  = 16 << 20
	// copyBytes is how much of a file is read at once.
	copyBytes = 256 << 10
)

// inspect reads the beginning of a file. What is wrong further on the gateway
// will tell.
func inspect(s source, head *bufio.Reader) (*item, error) {
	f, err := s.open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head.Reset(f)
	begin, _ := head.Peek(preamble + len(magic)) // an error comes again
	claims := len(begin) == preamble+len(magic) && string(begin[preamble:]) == magic
	p, err := dicom.ReadPart10(head)
	switch {
	case errors.Is(err, storage.ErrInvalid) && !claims:
		return nil, errForeign
	case err != nil:
		return nil, err
	case p.Meta.SOPClassUID == mediaStorageDirectory:
		return nil, errDirectory
	case p.Guessed:
		return nil, fmt.Errorf("%w: there is no File Meta Information that names a transfer syntax (PS3.10 §7.1)", storage.ErrInvalid)
	}
	it := &item{source: s, prefix: int64(len(p.Prefix))}
	// The gateway refuses what has no valid names, and says so.
	it.key, err = names(head, p.Meta.TransferSyntaxUID)
	return it, err
}

// names reads a Data Set until its three UIDs are known.
func names(r io.Reader, transferSyntaxUID string) (storage.InstanceKey, error) {
	scanner := dicom.NewScanner(transferSyntaxUID, dicom.ScanLimits{})
	defer scanner.Abort()
	deflated := dicom.LookupTransferSyntax(transferSyntaxUID).Deflated
	buf := make([]byte, headBytes)
	for read := 0; read < mostHead || deflated; {
		n, err := r.Read(buf)
		read += n
		if _, err := scanner.Write(buf[:n]); err != nil {
			return storage.InstanceKey{}, err
		}
		if key := scanner.Key(); key.SeriesInstanceUID != "" {
			return key, key.Validate()
		}
		if errors.Is(err, io.EOF) {
			found, err := scanner.Close()
			if err != nil {
				return storage.InstanceKey{}, err
			}
			key := storage.InstanceKey{
				StudyInstanceUID: found.StudyInstanceUID, SeriesInstanceUID: found.SeriesInstanceUID, SOPInstanceUID: found.SOPInstanceUID,
			}
			return key, key.Validate()
		}
		if err != nil {
			return storage.InstanceKey{}, err
		}
	}
	return storage.InstanceKey{}, fmt.Errorf("%w: no SeriesInstanceUID in the first %d bytes", storage.ErrInvalid, mostHead)
}

// digest is that of the Data Set in the file.
func (i *item) digest(buffers *sync.Pool) (storage.Digest, error) {
	var d storage.Digest
	f, err := i.open()
	if err != nil {
		return d, err
	}
	defer f.Close()
	if _, err := f.Seek(i.prefix, io.SeekStart); err != nil {
		return d, err
	}
	buf, ok := buffers.Get().(*[copyBytes]byte)
	if !ok {
		buf = new([copyBytes]byte)
	}
	defer buffers.Put(buf)
	sum := storage.NewDigester()
	if _, err := io.CopyBuffer(sum, struct{ io.Reader }{f}, buf[:]); err != nil {
		return d, err
	}
	return sum.Digest(), nil
}
