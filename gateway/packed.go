package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/dicom"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/pack"
)

// packBlob is one pack in the archive, with its directory read.
type packBlob struct {
	archive   archive.Archive
	key       string
	size      int64
	directory *pack.Directory
	damaged   func(key string) // nil when nobody wants to know
}

// tell reports an error that says that the pack is damaged, and returns it.
func (b *packBlob) tell(err error) error {
	if b.damaged != nil && errors.Is(err, storage.ErrCorrupt) {
		b.damaged(b.key)
	}
	return err
}

// Size implements pack.Blob.
func (b *packBlob) Size() int64 { return b.size }

// Open implements pack.Blob.
func (b *packBlob) Open(ctx context.Context, r storage.Range) (io.ReadCloser, error) {
	return b.archive.Get(ctx, b.key, r)
}

// packed is an instance that lies in a pack.
type packed struct {
	details *details
	i       int
	over    overlaid
	layouts *layouts
}

func (p *packed) entry() *pack.Entry { return &p.details.directory.Entries[p.i] }

// About implements Instance.
func (p *packed) About() storage.Instance { return p.entry().Instance }

// Open implements Instance.
func (p *packed) Open(ctx context.Context, r storage.Range) (io.ReadCloser, error) {
	body, err := p.details.directory.Open(ctx, p.details, p.i, r)
	if err != nil {
		return nil, p.details.tell(err)
	}
	return &watched{body, p.details.packBlob}, nil
}

// watched is what is read of a pack, which tells when it is damaged.
type watched struct {
	io.ReadCloser
	blob *packBlob
}

// Read implements io.Reader.
func (w *watched) Read(p []byte) (int, error) {
	n, err := w.ReadCloser.Read(p)
	return n, w.blob.tell(err)
}

// WriteTo implements io.WriterTo.
func (w *watched) WriteTo(to io.Writer) (int64, error) {
	n, err := io.Copy(to, w.ReadCloser)
	return n, w.blob.tell(err)
}

// WriteMetadata implements Instance.
func (p *packed) WriteMetadata(ctx context.Context, w io.Writer, bulkRoot string) error {
	w, err := p.over.write(ctx, dicom.WithBulkRoot(w, bulkRoot))
	if err != nil {
		return err
	}
	return p.details.of(ctx, p.i, func(metadata io.Reader) error {
		_, err := io.Copy(w, metadata)
		return err
	})
}

// Layout implements Instance. What must be inflated to reach it has the
// layouts of others, which are likely to be asked for next.
func (p *packed) Layout(ctx context.Context) (*dicom.Layout, error) {
	if known := p.layouts.get(layoutOf(p.About())); known != nil {
		return known, nil
	}
	from, to := p.details.directory.DetailsWith(p.i)
	found, err := p.readLayouts(ctx, from, to)
	if errors.Is(err, storage.ErrCorrupt) { // it may be another's that is damaged
		from = p.i
		found, err = p.readLayouts(ctx, from, from+1)
	}
	if err != nil {
		return nil, p.details.tell(err)
	}
	return found[p.i-from], nil
}

// readLayouts reads those of some entries, and remembers them when all are
// sound.
func (p *packed) readLayouts(ctx context.Context, from, to int) ([]*dicom.Layout, error) {
	d := p.details.directory
	found := make([]*dicom.Layout, to-from)
	err := d.Details(ctx, p.details.packBlob, from, to, func(i int, l *dicom.Layout, _ io.Reader) error {
		if found[i-from] = l; l == nil {
			found[i-from] = &dicom.Layout{}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i, l := range found {
		p.layouts.put(layoutOf(d.Entries[from+i].Instance), l)
	}
	return found, nil
}

const (
	// detailsAhead is how many instances' metadata are read at once when they
	// are asked for one after another, and detailsKept bounds that of each that
	// is held.
	detailsAhead = 32
	detailsKept  = 64 << 10
)

// details reads the details of a pack's instances for one request. They lie
// compressed together: when they are asked for in order, some are read ahead.
type details struct {
	*packBlob
	whole []storage.Range // where the instances that are wanted lie
	run   *run            // nil when they are not read in one go

	mu       sync.Mutex
	from, to int // whose metadata is held
	held     bytes.Buffer
	metadata []stretch // where in held
}

// stretch is where one instance's metadata is held, unless it is too long.
type stretch struct {
	from, to int
	long     bool
}

// Open implements pack.Blob.
func (d *details) Open(ctx context.Context, r storage.Range) (io.ReadCloser, error) {
	if d.run != nil {
		return d.run.open(ctx, r)
	}
	return d.packBlob.Open(ctx, r)
}

// OpenSound implements pack.SoundBlob.
func (d *details) OpenSound(ctx context.Context, r, whole storage.Range, crc32 uint32) (io.ReadCloser, error) {
	if d.run != nil { // the archive has checksums of its own
		return d.run.open(ctx, r)
	}
	return archive.GetSound(ctx, d.archive, d.key, r, archive.Sum{Range: whole, CRC32: crc32})
}

// of calls fn with the metadata of entry i.
func (d *details) of(ctx context.Context, i int, fn func(io.Reader) error) error {
	return d.tell(d.find(ctx, i, fn))
}

func (d *details) find(ctx context.Context, i int, fn func(io.Reader) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if i == d.to && i > 0 && d.to > d.from {
		if err := d.read(ctx, i, min(i+detailsAhead, len(d.directory.Entries))); err != nil {
			return err
		}
	} else if i < d.from || i >= d.to {
		if err := d.read(ctx, i, i+1); err != nil {
			return err
		}
	}
	if metadata := d.metadata[i-d.from]; !metadata.long {
		return fn(bytes.NewReader(d.held.Bytes()[metadata.from:metadata.to]))
	}
	return d.directory.Metadata(ctx, d.packBlob, i, i+1, func(_ int, metadata io.Reader) error { return fn(metadata) })
}

func (d *details) read(ctx context.Context, from, to int) error {
	d.from, d.to = 0, 0
	d.held.Reset()
	d.metadata = d.metadata[:0]
	err := d.directory.Metadata(ctx, d.packBlob, from, to, func(_ int, metadata io.Reader) error {
		m := stretch{from: d.held.Len()}
		n, err := d.held.ReadFrom(io.LimitReader(metadata, detailsKept+1))
		if m.to = d.held.Len(); n > detailsKept {
			d.held.Truncate(m.from)
			m = stretch{long: true}
		}
		d.metadata = append(d.metadata, m)
		return err
	})
	if err == nil {
		d.from, d.to = from, to
	}
	return err
}

// directories keeps the directories of the packs that were read last.
type directories struct {
	archive archive.Archive
	most    int64
	damaged func(key string)

	mu    sync.Mutex
	bytes int64
	lru   *simplelru.LRU[string, *packBlob]
	stats DirectoryStats
}

// DirectoryStats tell of the directories of packs that are kept in memory.
type DirectoryStats struct {
	Hits, Misses int64 // packs, since the start
	Bytes, Most  int64
}

// Directories tells how those fare that the Retriever keeps.
func (r *Retriever) Directories() DirectoryStats {
	d := r.directories
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.stats
	s.Bytes, s.Most = d.bytes, d.most
	return s
}

const (
	defaultDirectoryBytes = 16 << 20
	// directoriesMost bounds the number of directories, empty ones included.
	directoriesMost = 1 << 16
)

func newDirectories(a archive.Archive, most int64, damaged func(string)) *directories {
	if most <= 0 {
		most = defaultDirectoryBytes
	}
	d := &directories{archive: a, most: most, damaged: damaged}
	d.lru, _ = simplelru.NewLRU(directoriesMost, func(_ string, b *packBlob) { d.bytes -= b.directory.Memory() }) // fails only for a size below 1
	return d
}

// open returns the pack with its directory.
func (d *directories) open(ctx context.Context, p index.Pack) (*packBlob, error) {
	d.mu.Lock()
	b, ok := d.lru.Get(p.PackID)
	if ok {
		d.stats.Hits++
	} else {
		d.stats.Misses++
	}
	d.mu.Unlock()
	if ok {
		return b, nil
	}
	if len(p.Copies) == 0 {
		return nil, fmt.Errorf("%w: pack %s has no copy", storage.ErrCorrupt, p.PackID)
	}
	b = &packBlob{archive: d.archive, key: p.Copies[0].Key, size: p.Copies[0].Size, damaged: d.damaged}
	expect(d.archive, b.key, b.size)
	directory, err := pack.ReadDirectory(ctx, b)
	if err != nil {
		return nil, b.tell(fmt.Errorf("pack %s: %w", b.key, err))
	}
	b.directory = directory
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lru.Contains(p.PackID) {
		return b, nil
	}
	d.lru.Add(p.PackID, b)
	for d.bytes += b.directory.Memory(); d.bytes > d.most && d.lru.Len() > 1; {
		d.lru.RemoveOldest()
	}
	return b, nil
}
