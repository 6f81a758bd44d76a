package dir

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"syscall"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
)

// bufferSize is how much of a Source is read at once.
const bufferSize = 1 << 20

// Put implements archive.Archive: the object is written and synced under a
// name of its own and then linked to its key, which the file system refuses
// when the key is taken.
func (a *Archive) Put(ctx context.Context, key string, src archive.Source) (uint32, error) {
	if err := errors.Join(ctx.Err(), archive.ValidKey(key)); err != nil {
		return 0, err
	}
	if _, err := a.Stat(ctx, key); err == nil {
		return a.compare(ctx, key, src)
	}
	staged, sum, err := a.stage(ctx, key, src)
	if err != nil {
		return 0, err
	}
	defer a.discard(staged)
	switch err := a.publish(staged.name, key); {
	case errors.Is(err, fs.ErrExist):
		return a.compare(ctx, key, src)
	case err != nil:
		return 0, explainPut(key, err)
	}
	return sum, nil
}

// compare tells whether the object of a key has the very bytes of src, and
// returns their checksum.
func (a *Archive) compare(ctx context.Context, key string, src archive.Source) (uint32, error) {
	f, info, err := a.open(ctx, key)
	if errors.Is(err, storage.ErrNotFound) {
		return 0, fmt.Errorf("%w: %q is the folder of other keys, or was removed while it was put", storage.ErrInvalid, key)
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	taken := fmt.Errorf("%w: %q holds other bytes", storage.ErrConflict, key)
	if info.Size() != src.Size() {
		return 0, taken
	}
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	same := &comparer{with: f, buf: make([]byte, min(info.Size()+1, bufferSize))}
	if err := copySource(ctx, key, io.MultiWriter(same, sum), src); err != nil {
		if errors.Is(err, errDiffers) {
			return 0, taken
		}
		return 0, err
	}
	// The Put that made it may not have synced its folders yet.
	if err := errors.Join(f.Sync(), a.syncFolders(path.Dir(key))); err != nil {
		return 0, explainPut(key, err)
	}
	return sum.Sum32(), nil
}

// errDiffers is between comparer and compare.
var errDiffers = errors.New("the bytes differ")

// comparer is a writer that fails with errDiffers unless it is given the
// bytes of a reader.
type comparer struct {
	with io.Reader
	buf  []byte
}

func (c *comparer) Write(p []byte) (int, error) {
	for at := 0; at < len(p); {
		part := c.buf[:min(len(c.buf), len(p)-at)]
		if _, err := io.ReadFull(c.with, part); err != nil {
			return at, err
		}
		if !bytes.Equal(part, p[at:at+len(part)]) {
			return at, errDiffers
		}
		at += len(part)
	}
	return len(p), nil
}

// stage writes src into a new file of the staging folder and syncs it. The
// file is locked as long as it is open, which tells sweep that it is in use.
func (a *Archive) stage(ctx context.Context, key string, src archive.Source) (*stagedFile, uint32, error) {
	f, err := a.createStaged()
	if err != nil {
		return nil, 0, explainPut(key, err)
	}
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	err = copySource(ctx, key, summer{f.File, sum}, src)
	if err == nil {
		err = explainPut(key, f.Sync())
	}
	if err == nil && a.o.ReadBack {
		err = readBack(ctx, key, f.File, sum.Sum32())
	}
	if err != nil {
		a.discard(f)
		return nil, 0, err
	}
	return f, sum.Sum32(), nil
}

// readBack reads a file that was synced and holds it against its checksum.
func readBack(ctx context.Context, key string, f *os.File, want uint32) error {
	forget(f)
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return explainPut(key, err)
	}
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	buf := make([]byte, bufferSize)
	for {
		n, err := f.Read(buf)
		sum.Write(buf[:n])
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("put %q: %w", key, ctx.Err())
		case errors.Is(err, io.EOF) && sum.Sum32() == want:
			return nil
		case errors.Is(err, io.EOF):
			return fmt.Errorf("put %q: %w: what was read back has the checksum %08x, not %08x", key, storage.ErrCorrupt, sum.Sum32(), want)
		case err != nil:
			return explainPut(key, err)
		}
	}
}

// summer writes to a file and sums what was written.
type summer struct {
	file *os.File
	sum  hash.Hash32
}

func (s summer) Write(p []byte) (int, error) {
	n, err := s.file.Write(p)
	s.sum.Write(p[:n])
	return n, err
}

// copySource copies the whole of src; it fails with storage.ErrCorrupt when
// src ends early.
func copySource(ctx context.Context, key string, w io.Writer, src archive.Source) error {
	size := src.Size()
	r, err := src.Open(ctx, storage.Range{Length: size})
	if err != nil {
		return fmt.Errorf("put %q: open its source: %w", key, err)
	}
	defer r.Close()
	buf := make([]byte, min(size+1, bufferSize))
	for left := size; left > 0; {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("put %q: %w", key, err)
		}
		part := buf[:min(left, int64(len(buf)))]
		if _, err := io.ReadFull(r, part); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("put %q: %w: its source ends before its %d bytes", key, storage.ErrCorrupt, size)
		} else if err != nil {
			return fmt.Errorf("put %q: read its source: %w", key, err)
		}
		if _, err := w.Write(part); err != nil {
			return explainPut(key, err)
		}
		left -= int64(len(part))
	}
	return nil
}

// publish links a staged file to its key and syncs the folders on the way:
// all of them, because another Put may have made one and not synced it yet.
func (a *Archive) publish(staged, key string) error {
	name := filepath.FromSlash(key)
	if err := a.root.MkdirAll(filepath.Dir(name), 0o750); err != nil {
		if errors.Is(err, fs.ErrExist) || errors.Is(err, syscall.ENOTDIR) {
			return syscall.ENOTDIR
		}
		return err
	}
	if err := a.root.Link(staged, name); err != nil {
		return err
	}
	return a.syncFolders(path.Dir(key))
}

// syncFolders syncs a folder and those above it.
func (a *Archive) syncFolders(folder string) error {
	for ; folder != "."; folder = path.Dir(folder) {
		if err := a.syncFolder(folder); err != nil {
			return err
		}
	}
	return a.syncFolder(".")
}

func (a *Archive) syncFolder(folder string) error {
	f, err := a.root.Open(filepath.FromSlash(folder))
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// explainPut is explain, but for the errors by which the file system refuses a
// key that is valid: one below another object, or with too long a component.
func explainPut(key string, err error) error {
	if errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ENAMETOOLONG) {
		return fmt.Errorf("put %q: %w: %w", key, storage.ErrInvalid, err)
	}
	return explain("put", key, err)
}
