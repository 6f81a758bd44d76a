package gateway

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/journal"
)

// StoreOptions are the parts a Storer works with.
type StoreOptions struct {
	Journal *journal.Journal
	Index   *index.Index
	Indexer *Indexer
	// MaxDataSet bounds a Data Set in bytes; 0 means no bound but the disk.
	MaxDataSet int64
	Scan       dicom.ScanLimits
	Logger     *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// chunk is how much is read from a sender at once.
const chunk = 64 << 10

// Storer is the Store use case: bytes in, checked while they pass, durable
// before the sender is told.
type Storer struct {
	o      StoreOptions
	chunks sync.Pool
}

// NewStorer returns a Storer.
func NewStorer(o StoreOptions) *Storer {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Storer{o: o, chunks: sync.Pool{New: func() any { return new([chunk]byte) }}}
}

// Receive reads one instance to its end. The error wraps storage.ErrInvalid
// for a Data Set that is malformed, ErrMismatch for one that is not what was
// announced, ErrTooLarge, ErrFull or ErrUnavailable when it cannot be kept
// now, or is the error of the body. After an error nothing is kept, and the
// rest of the body is unread.
func (s *Storer) Receive(ctx context.Context, in Incoming) (Pending, error) {
	if err := s.o.Indexer.Failing(); err != nil {
		return nil, err
	}
	prefix, in, err := openForm(in)
	if err != nil {
		return nil, err
	}
	a := s.o.Journal.NewAppend(ctx)
	r, err := s.receive(in, prefix, a)
	if err != nil {
		a.Abort()
		return nil, err
	}
	standing, err := s.standing(ctx, r)
	if err != nil {
		a.Abort()
		return nil, err
	}
	if standing == Duplicate {
		a.Abort()
		return settled{r.receipt(Duplicate)}, nil
	}
	header, err := r.encode()
	if err != nil {
		a.Abort()
		return nil, err
	}
	r.Metadata, r.Layout = nil, nil // the journal has them; the index needs neither
	p, err := a.Commit(prefix, header, r)
	if err != nil {
		return nil, err
	}
	return &pending{pending: p, receipt: r.receipt(standing)}, nil
}

// openForm reads up to the Data Set and returns what the stored form has in
// front of it.
func openForm(in Incoming) ([]byte, Incoming, error) {
	if in.Form == DataSet {
		return dicom.AppendFileMeta(nil, dicom.FileMeta{
			SOPClassUID: in.SOPClassUID, SOPInstanceUID: in.SOPInstanceUID,
			TransferSyntaxUID: in.TransferSyntaxUID, SourceAETitle: in.Origin.CallingAETitle,
		}), in, nil
	}
	body := bufio.NewReaderSize(in.Body, chunk)
	head, err := dicom.ReadPart10(body)
	if err != nil {
		return nil, in, err
	}
	if head.Guessed || len(head.Prefix) == 0 {
		return nil, in, fmt.Errorf("%w: not a DICOM file: there is no File Meta Information that names a transfer syntax (PS3.10 §7.1)", storage.ErrInvalid)
	}
	in.Body = body
	in.TransferSyntaxUID = head.Meta.TransferSyntaxUID
	in.SOPClassUID = or(in.SOPClassUID, head.Meta.SOPClassUID)
	// MediaStorageSOPInstanceUID is not held against the Data Set: exporters
	// that gave a copy a new SOPInstanceUID and forgot it there are common.
	if !bytes.HasPrefix(head.Prefix[min(preamble, len(head.Prefix)):], []byte("DICM")) {
		return dicom.AppendFileMeta(nil, head.Meta), in, nil // the stored form is one that any tool opens
	}
	return head.Prefix, in, nil
}

// preamble is the length of a file's preamble (PS3.10 §7.1).
const preamble = 128

func or(s, otherwise string) string {
	if s != "" {
		return s
	}
	return otherwise
}

// receive passes the body through the checks and into the journal.
func (s *Storer) receive(in Incoming, prefix []byte, a *journal.Append) (*record, error) {
	scanner := dicom.NewScanner(in.TransferSyntaxUID, s.o.Scan)
	defer scanner.Abort()
	sums := sums{digest: sha256.New(), crc: crc32.ChecksumIEEE(prefix)}
	size, err := s.pump(in.Body, scanner, &sums, a)
	if err != nil {
		return nil, err
	}
	found, err := scanner.Close()
	if err != nil {
		return nil, err
	}
	got := storage.Instance{
		Key: storage.InstanceKey{
			StudyInstanceUID:  found.StudyInstanceUID,
			SeriesInstanceUID: found.SeriesInstanceUID,
			SOPInstanceUID:    found.SOPInstanceUID,
		},
		SOPClassUID:       found.SOPClassUID,
		TransferSyntaxUID: in.TransferSyntaxUID,
		Size:              int64(len(prefix)) + size,
		Prefix:            int64(len(prefix)),
		CRC32:             sums.crc,
		Received:          s.o.Now().UnixNano(),
		Origin:            in.Origin,
	}
	sums.digest.Sum(got.Digest[:0])
	if err := checkAnnounced(in, got); err != nil {
		return nil, err
	}
	return newRecord(got, found)
}

// sums are what is computed of the bytes as they pass.
type sums struct {
	digest hash.Hash
	crc    uint32
}

// pump moves the Data Set from the sender into scanner, sums and journal.
func (s *Storer) pump(body io.Reader, scanner *dicom.Scanner, sums *sums, a *journal.Append) (size int64, err error) {
	buf, ok := s.chunks.Get().(*[chunk]byte)
	if !ok {
		buf = new([chunk]byte)
	}
	defer s.chunks.Put(buf)
	for {
		n, rerr := body.Read(buf[:])
		p := buf[:n]
		size += int64(n)
		if s.o.MaxDataSet > 0 && size > s.o.MaxDataSet {
			return size, fmt.Errorf("%w: data set of more than %d bytes", storage.ErrTooLarge, s.o.MaxDataSet)
		}
		if _, err := scanner.Write(p); err != nil {
			return size, err
		}
		if _, err := a.Write(p); err != nil {
			return size, err
		}
		sums.digest.Write(p)
		sums.crc = crc32.Update(sums.crc, crc32.IEEETable, p)
		if errors.Is(rerr, io.EOF) {
			return size, nil
		}
		if rerr != nil {
			return size, rerr
		}
	}
}

// checkAnnounced refuses what cannot be filed, and what is not what the sender
// said it would send.
func checkAnnounced(in Incoming, got storage.Instance) error {
	if err := got.Key.Validate(); err != nil {
		return err
	}
	if !storage.ValidUID(got.SOPClassUID) {
		return fmt.Errorf("%w: SOPClassUID is not a UID", storage.ErrInvalid)
	}
	for _, c := range []struct{ keyword, announced, got string }{
		{"SOPClassUID", in.SOPClassUID, got.SOPClassUID},
		{"SOPInstanceUID", in.SOPInstanceUID, got.Key.SOPInstanceUID},
		{"StudyInstanceUID", in.StudyInstanceUID, got.Key.StudyInstanceUID},
	} {
		if c.announced != "" && c.announced != c.got {
			return fmt.Errorf("%w: %s", storage.ErrMismatch, c.keyword)
		}
	}
	return nil
}

// standing asks the index what the instance will be. The index decides for
// good when it applies; here a duplicate is spared the journal.
func (s *Storer) standing(ctx context.Context, r *record) (Standing, error) {
	has, err := s.o.Index.Has(ctx, r.indexed("", journal.Position{}))
	if err != nil {
		return 0, err
	}
	switch has {
	case index.StandingDuplicate:
		return Duplicate, nil
	case index.StandingConflict:
		return Conflict, nil
	default:
		return Stored, nil
	}
}

func (r *record) receipt(s Standing) Receipt {
	return Receipt{Key: r.Instance.Key, SOPClassUID: r.Instance.SOPClassUID, Digest: r.Instance.Digest, Standing: s}
}

// settled is a Pending that was durable before.
type settled struct{ receipt Receipt }

func (s settled) Wait(context.Context) (Receipt, error) { return s.receipt, nil }
func (s settled) Received() Receipt                     { return s.receipt }

// pending is an instance that waits for the journal's fsync.
type pending struct {
	pending *journal.Pending
	receipt Receipt
}

func (p *pending) Wait(ctx context.Context) (Receipt, error) {
	if _, err := p.pending.Wait(ctx); err != nil {
		return p.receipt, err
	}
	return p.receipt, nil
}

func (p *pending) Received() Receipt { return p.receipt }
