package gateway

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/failpoint"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/journal"
	"github.com/esante-alsace/cigogne/storage/trace"
)

// StoreOptions are the parts a Storer works with.
type StoreOptions struct {
	Journal *journal.Journal
	Index   *index.Index
	Indexer *Indexer
	// Copies are those that an instance must have before its sender is told;
	// nil asks for none.
	Copies Copies
	// MaxDataSet bounds a Data Set in bytes; 0 means no bound but the disk.
	MaxDataSet int64
	Scan       dicom.ScanLimits
	// Sites tells who sends; nil knows no site.
	Sites *Sites
	// Arrivals notes when each of them was heard of; it may be nil.
	Arrivals *Arrivals
	// Clock is told how long the steps took; it may be nil.
	Clock  Clock
	Logger *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Storer is the Store use case: bytes in, checked while they pass, durable
// before the sender is told.
type Storer struct {
	o      StoreOptions
	files  sync.Pool // *bufio.Reader
	spare  sync.Pool // *scratch
	hashes hashes
}

// NewStorer returns a Storer.
func NewStorer(o StoreOptions) *Storer {
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Clock = orNoClock(o.Clock)
	return &Storer{o: o}
}

// Receive reads one instance to its end. The error wraps storage.ErrInvalid
// for a Data Set that is malformed, ErrMismatch for one that is not what was
// announced, ErrForbidden for a sender of no site where that is refused,
// ErrTooLarge, ErrFull or ErrUnavailable when it cannot be kept now, or is the
// error of the body. After an error nothing is kept, and the rest of the body
// is unread.
func (s *Storer) Receive(ctx context.Context, in Incoming) (_ Pending, err error) {
	began := time.Now()
	above := trace.Of(ctx)
	ctx, span := trace.Start(ctx, StepReceive.String())
	defer func() {
		if err != nil {
			span.Fail(string(RefusalOf(err)))
		}
		span.End()
	}()
	if err := s.failing(); err != nil {
		return nil, err
	}
	if in.Origin.Sender, err = s.o.Sites.sender(in.Origin, in.Credential); err != nil {
		return nil, err
	}
	files, ok := s.files.Get().(*bufio.Reader)
	if !ok {
		files = bufio.NewReaderSize(nil, fileHead)
	}
	defer func() {
		files.Reset(nil) // the body is its sender's
		s.files.Put(files)
	}()
	prefix, in, err := openForm(in, files)
	if err != nil {
		return nil, err
	}
	a := s.o.Journal.NewAppend(ctx)
	defer a.Abort() // nothing after Commit
	spare := s.scratch()
	r, err := s.receive(in, prefix, a, spare)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			r.instance() // nothing goes on when Receive has returned
		}
	}()
	header, err := r.encode()
	if err != nil {
		return nil, err
	}
	r.place = above.Place()
	received := time.Now()
	r.took = received.Sub(began)
	r.Metadata, r.Layout = nil, nil // the journal has them; the index needs neither
	if spare.clear() {
		s.spare.Put(spare)
	}
	p, err := a.Commit(prefix, header, r)
	if err != nil {
		return nil, err
	}
	span.Number("bytes", r.Instance.Size)
	s.o.Clock.Took(StepReceive, received.Sub(began))
	return &pending{storer: s, record: r, pending: p, received: received}, nil
}

// scratch is one that nobody uses.
func (s *Storer) scratch() *scratch {
	if spare, ok := s.spare.Get().(*scratch); ok {
		return spare
	}
	return new(scratch)
}

// failing tells why nothing can be acknowledged now, or nil.
func (s *Storer) failing() error {
	if err := s.o.Indexer.Failing(); err != nil || s.o.Copies == nil {
		return err
	}
	return s.o.Copies.Failing()
}

// openForm reads up to the Data Set and returns what the stored form has in
// front of it.
func openForm(in Incoming, body *bufio.Reader) ([]byte, Incoming, error) {
	if in.Form == DataSet {
		return dicom.AppendFileMeta(nil, dicom.FileMeta{
			SOPClassUID: in.SOPClassUID, SOPInstanceUID: in.SOPInstanceUID,
			TransferSyntaxUID: in.TransferSyntaxUID, SourceAETitle: in.Origin.CallingAETitle,
		}), in, nil
	}
	body.Reset(in.Body)
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

// fileHead is how much of a file is read at once until its Data Set begins: what
// is longer than this is read past it.
const fileHead = 4 << 10

// preamble is the length of a file's preamble (PS3.10 §7.1).
const preamble = 128

func or(s, otherwise string) string {
	if s != "" {
		return s
	}
	return otherwise
}

// receive passes the body through the checks and into the journal.
func (s *Storer) receive(in Incoming, prefix []byte, a *journal.Append, spare *scratch) (*record, error) {
	scanner := dicom.NewScannerInto(spare.elements, in.TransferSyntaxUID, s.o.Scan)
	defer scanner.Abort()
	d := newDigester(a, prefix, &s.hashes)
	defer d.close()
	if err := s.pump(in.Body, d, scanner, a); err != nil {
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
		Size:              int64(len(prefix)) + d.size,
		Prefix:            int64(len(prefix)),
		CRC32:             d.crc,
		Digest:            d.sum(),
		Received:          s.o.Now().UnixNano(),
		Origin:            in.Origin,
	}
	if err := checkAnnounced(in, got); err != nil {
		return nil, err
	}
	spare.elements = found.DataSet
	r, err := newRecord(got, found, &spare.text)
	if err == nil {
		r.late, err = d.late()
	}
	return r, err
}

// pump moves the Data Set from the sender through the scanner into the
// journal.
func (s *Storer) pump(body io.Reader, d *digester, scanner *dicom.Scanner, a *journal.Append) error {
	for {
		p := a.Room()
		n, rerr := fill(body, p)
		if err := d.add(p[:n]); err != nil {
			return err
		}
		if s.o.MaxDataSet > 0 && d.size > s.o.MaxDataSet {
			return fmt.Errorf("%w: data set of more than %d bytes", storage.ErrTooLarge, s.o.MaxDataSet)
		}
		if _, err := scanner.Write(p[:n]); err != nil {
			return err
		}
		if err := a.Take(n); err != nil {
			return err
		}
		if rerr == io.EOF { //nolint:errorlint // an error that wraps it is no end
			return nil
		}
		if rerr != nil {
			return rerr
		}
	}
}

// fill reads until p is full or the body ends or fails.
func fill(body io.Reader, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = body.Read(p[n:])
		n += m
	}
	return n, err
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
	if !storage.ValidUID(got.TransferSyntaxUID) {
		return fmt.Errorf("%w: TransferSyntaxUID is not a UID", storage.ErrInvalid)
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

// pending is an instance that waits for the journal's fsync.
type pending struct {
	storer   *Storer
	record   *record
	pending  *journal.Pending
	received time.Time
}

// Wait implements Pending. While the disk is at work the index is asked what
// the instance will be; it decides for good when it applies.
func (p *pending) Wait(ctx context.Context) (Receipt, error) {
	standing, err := p.storer.standing(ctx, p.record)
	if err != nil {
		return p.Received(), err
	}
	e, err := p.durable(ctx)
	if err != nil {
		return p.Received(), err
	}
	p.storer.o.Arrivals.came(p.record.Instance.Origin.Sender, p.record.Instance.Size, p.received)
	if standing == Duplicate {
		standing = p.storer.itself(ctx, p.record, e.Position)
	}
	receipt := p.Received()
	receipt.Digest, receipt.Standing = p.record.instance().Digest, standing
	failpoint.Pass(failpoint.Answering)
	return receipt, nil
}

// durable waits for the fsync and for the copies.
func (p *pending) durable(ctx context.Context) (journal.Entry, error) {
	_, span := trace.Start(ctx, StepJournal.String())
	e, err := p.pending.Wait(ctx)
	span.Done(err)
	if err != nil {
		return e, err
	}
	synced := time.Now()
	p.storer.o.Clock.Took(StepJournal, synced.Sub(p.received))
	if p.storer.o.Copies == nil {
		return e, nil
	}
	failpoint.Pass(failpoint.JournalSynced)
	_, span = trace.Start(ctx, StepCopies.String())
	err = p.storer.o.Copies.Await(ctx, e.Position)
	span.Done(err)
	if err != nil {
		return e, err
	}
	failpoint.Pass(failpoint.Copied)
	p.storer.o.Clock.Took(StepCopies, time.Since(synced))
	return e, nil
}

// itself is the standing of an instance that is durable and that the index
// called a duplicate: when the index was faster than the question, it is a
// duplicate of nothing but itself.
func (s *Storer) itself(ctx context.Context, r *record, at journal.Position) Standing {
	own := indexPosition(index.JournalID(s.o.Journal.ID()), at)
	key := r.Instance.Key
	for _, is := range []Standing{Stored, Conflict} {
		rows, err := s.o.Index.Live(ctx, index.Selector{
			StudyInstanceUID: key.StudyInstanceUID, SeriesInstanceUID: key.SeriesInstanceUID,
			SOPInstanceUID: key.SOPInstanceUID, Conflicts: is == Conflict,
		})
		if err != nil {
			break // it is safe, whatever it is called
		}
		for _, row := range rows {
			if row.At == own {
				return is
			}
		}
	}
	return Duplicate
}

// Received implements Pending.
func (p *pending) Received() Receipt {
	in := &p.record.Instance
	return Receipt{Key: in.Key, SOPClassUID: in.SOPClassUID}
}

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
