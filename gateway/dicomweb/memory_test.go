package dicomweb_test

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
)

// memory is a gateway that keeps everything in memory: it implements the
// interfaces of this package with the same readers of Data Sets as the real
// one, without its stores.
type memory struct {
	mu        sync.Mutex
	instances []*memoryInstance
	// fail, when not nil, is asked before an instance is made durable.
	fail func(storage.InstanceKey) error
	// waits counts the instances that are received and not yet waited for.
	waits int
	// unnamed counts what was refused because a UID is missing or none.
	unnamed int
	// together, when not 0, holds back the first Wait until so many instances
	// are waiting.
	together int
	reached  chan struct{}
	once     sync.Once
}

type memoryInstance struct {
	storage.Instance
	bytes    []byte
	file     string // instead of bytes
	result   *dicom.Result
	conflict bool
}

func (m *memory) Receive(_ context.Context, in gateway.Incoming) (gateway.Pending, error) {
	var whole bytes.Buffer
	body := bufio.NewReader(io.TeeReader(in.Body, &whole))
	p10, err := dicom.ReadPart10(body)
	if err != nil {
		return nil, err
	}
	scan := dicom.NewScanner(p10.Meta.TransferSyntaxUID, dicom.ScanLimits{})
	if _, err := io.Copy(scan, body); err != nil {
		scan.Abort()
		return nil, err
	}
	res, err := scan.Close()
	if err != nil {
		return nil, err
	}
	key := storage.InstanceKey{
		StudyInstanceUID: res.StudyInstanceUID, SeriesInstanceUID: res.SeriesInstanceUID, SOPInstanceUID: res.SOPInstanceUID,
	}
	if err := key.Validate(); err != nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.unnamed++
		return nil, err
	}
	if in.StudyInstanceUID != "" && in.StudyInstanceUID != key.StudyInstanceUID {
		return nil, fmt.Errorf("%w: StudyInstanceUID", storage.ErrMismatch)
	}
	b := whole.Bytes()
	about := storage.Instance{
		Key: key, SOPClassUID: res.SOPClassUID, TransferSyntaxUID: p10.Meta.TransferSyntaxUID,
		Digest: storage.DigestOf(b[len(p10.Prefix):]), Size: int64(len(b)), Prefix: int64(len(p10.Prefix)),
		CRC32: crc32.ChecksumIEEE(b), Received: 1_700_000_000e9, Origin: in.Origin,
	}
	return m.pending(&memoryInstance{Instance: about, bytes: b, result: res}), nil
}

func (m *memory) pending(in *memoryInstance) *memoryPending {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.waits++; m.waits == m.together {
		m.once.Do(func() { close(m.reached) })
	}
	return &memoryPending{memory: m, instance: in, standing: gateway.Stored}
}

func (m *memory) standing(in *memoryInstance) gateway.Standing {
	standing := gateway.Stored
	for _, other := range m.instances {
		if other.Key.SOPInstanceUID == in.Key.SOPInstanceUID {
			standing = gateway.Conflict
			if other.Digest == in.Digest {
				return gateway.Duplicate
			}
		}
	}
	return standing
}

type memoryPending struct {
	*memory
	instance *memoryInstance
	standing gateway.Standing
}

func (p *memoryPending) Received() gateway.Receipt {
	return gateway.Receipt{Key: p.instance.Key, SOPClassUID: p.instance.SOPClassUID, Digest: p.instance.Digest, Standing: p.standing}
}

func (p *memoryPending) Wait(ctx context.Context) (gateway.Receipt, error) {
	if p.together > 0 {
		select {
		case <-p.reached:
		case <-ctx.Done():
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waits--
	if err := ctx.Err(); err != nil {
		return gateway.Receipt{}, err
	}
	if p.fail != nil {
		if err := p.fail(p.instance.Key); err != nil {
			return gateway.Receipt{}, err
		}
	}
	if p.standing = p.memory.standing(p.instance); p.standing != gateway.Duplicate {
		p.instance.conflict = p.standing == gateway.Conflict
		p.instances = append(p.instances, p.instance)
	}
	return p.Received(), nil
}

func (m *memory) Instances(_ context.Context, sel gateway.Selector) ([]gateway.Instance, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var found []gateway.Instance
	for _, in := range m.instances {
		if in.conflict == sel.Conflicts && in.Key.StudyInstanceUID == sel.StudyInstanceUID &&
			(sel.SeriesInstanceUID == "" || sel.SeriesInstanceUID == in.Key.SeriesInstanceUID) &&
			(sel.SOPInstanceUID == "" || sel.SOPInstanceUID == in.Key.SOPInstanceUID) {
			found = append(found, in)
		}
	}
	if found == nil {
		return nil, fmt.Errorf("%w: %+v", storage.ErrNotFound, sel)
	}
	return found, nil
}

func (i *memoryInstance) About() storage.Instance { return i.Instance }

func (i *memoryInstance) Open(_ context.Context, r storage.Range) (io.ReadCloser, error) {
	if !r.Within(i.Size) {
		return nil, fmt.Errorf("%w: range", storage.ErrInvalid)
	}
	if i.file == "" {
		return io.NopCloser(bytes.NewReader(i.bytes[r.Offset:r.End()])), nil
	}
	f, err := os.Open(i.file)
	if err != nil {
		return nil, err
	}
	_, err = f.Seek(r.Offset, io.SeekStart)
	return &fileRange{File: f, length: r.Length}, err
}

// fileRange hands its file to the writer, as the journal does.
type fileRange struct {
	*os.File
	length int64
}

func (f *fileRange) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, io.LimitReader(f.File, f.length))
}

func (i *memoryInstance) WriteMetadata(_ context.Context, w io.Writer, bulkRoot string) error {
	_, err := dicom.WithBulkRoot(w, bulkRoot).Write(i.result.DataSet.AppendJSON(nil))
	return err
}

func (i *memoryInstance) Layout(context.Context) (*dicom.Layout, error) { return &i.result.Layout, nil }

// Search groups the instances by the level. It matches single values and '*'
// at the end alone: matching is the index's.
func (m *memory) Search(_ context.Context, q index.Query) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		m.mu.Lock()
		defer m.mu.Unlock()
		seen, skip, count := map[string]bool{}, q.Offset, 0
		for _, in := range m.instances {
			if in.conflict || !matches(in, q) || seen[identity(in, q.Level)] {
				continue
			}
			seen[identity(in, q.Level)] = true
			if skip--; skip >= 0 {
				continue
			}
			if q.Limit > 0 && count == q.Limit {
				return
			}
			count++
			if !yield(answerOf(in, q).AppendJSON(nil), nil) {
				return
			}
		}
	}
}

func (m *memory) Conflicts(context.Context) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, in := range m.instances {
			if in.conflict && !yield(answerOf(in, index.Query{Level: index.Image}).AppendJSON(nil), nil) {
				return
			}
		}
	}
}

func identity(in *memoryInstance, level index.Level) string {
	switch level {
	case index.Study:
		return in.Key.StudyInstanceUID
	case index.Series:
		return in.Key.SeriesInstanceUID
	}
	return in.Key.SOPInstanceUID
}

func answerOf(in *memoryInstance, q index.Query) dicom.DataSet {
	tags := []dicom.Tag{0x0020000D, 0x00080050, 0x00100010, 0x00100020}
	if q.Level >= index.Series {
		tags = append(tags, 0x0020000E, 0x00080060)
	}
	if q.Level == index.Image {
		tags = append(tags, 0x00080018, 0x00200013)
	}
	tags = append(tags, q.Include...)
	slices.Sort(tags)
	return in.result.DataSet.Select(slices.Compact(tags))
}

func matches(in *memoryInstance, q index.Query) bool {
	if q.StudyInstanceUID != "" && q.StudyInstanceUID != in.Key.StudyInstanceUID ||
		q.SeriesInstanceUID != "" && q.SeriesInstanceUID != in.Key.SeriesInstanceUID {
		return false
	}
	for _, c := range q.Match {
		value := in.result.DataSet.String(c.Path[len(c.Path)-1])
		prefix, wild := strings.CutSuffix(c.Value, "*")
		if c.Value != "" && (value != c.Value && !wild || !strings.HasPrefix(value, prefix)) {
			return false
		}
	}
	return true
}

// sorted is for comparing what was stored regardless of order.
func (m *memory) sorted() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []string
	for _, in := range m.instances {
		all = append(all, in.Key.SOPInstanceUID+" "+strconv.FormatBool(in.conflict))
	}
	slices.SortFunc(all, cmp.Compare[string])
	return all
}

var errBroken = errors.New("the disk is on fire")
