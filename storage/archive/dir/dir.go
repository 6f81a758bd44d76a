// Package dir is an archive in a folder of a local or mounted file system:
// an object is a file under its key. See DESIGN.md.
package dir

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"iter"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/sound"
)

// staging is the folder of objects that are being written. No key can reach
// it, because no component of a key begins with a dot.
const staging = ".staging"

// Options say how much is done before a Put is a success.
type Options struct {
	// ReadBack has each Put read what it synced, from the disk where the
	// system lets go of what it has in memory, and hold it against what came.
	ReadBack bool
}

// Archive is an archive.Archive in a folder. It is made by Open.
type Archive struct {
	o      Options
	root   *os.Root
	folder *os.File // root itself
	path   string
	next   atomic.Uint64 // numbers the staged files of this process

	comparer sound.Comparer
}

// Open opens the archive in the folder at path, which is created when it is
// missing, and sweeps what a crash left in it half written. Several Archives,
// also of several processes, may be open on one folder at the same time.
// Close must be called.
func Open(path string, more ...func(*Options)) (*Archive, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("archive in %q: %w", path, err)
	}
	if err := os.MkdirAll(filepath.Join(abs, staging), 0o750); err != nil {
		return nil, explain("open the archive in", abs, err)
	}
	root, err := os.OpenRoot(abs)
	if err != nil {
		return nil, explain("open the archive in", abs, err)
	}
	a := &Archive{root: root, path: abs}
	for _, f := range more {
		f(&a.o)
	}
	if a.folder, err = root.Open("."); err == nil {
		err = errors.Join(a.syncFolders("."), a.sweep())
	}
	if err != nil {
		_ = a.Close()
		return nil, explain("open the archive in", abs, err)
	}
	return a, nil
}

// Close releases the folder. Readers that are open stay so.
func (a *Archive) Close() error {
	err := a.root.Close()
	if a.folder != nil {
		err = errors.Join(err, a.folder.Close())
	}
	return err
}

// String is the archive's URL.
func (a *Archive) String() string {
	return (&url.URL{Scheme: "dir", Path: a.path}).String()
}

// Get implements archive.Archive. The reader has a file descriptor of its own
// and hands the file to the kernel when it is copied to a socket or a file.
func (a *Archive) Get(ctx context.Context, key string, r storage.Range) (io.ReadCloser, error) {
	f, info, err := a.open(ctx, key)
	if err != nil {
		return nil, err
	}
	if !r.Within(info.Size()) {
		f.Close()
		return nil, fmt.Errorf("%w: %d bytes from %d of %q, which has %d", storage.ErrInvalid, r.Length, r.Offset, key, info.Size())
	}
	return newReader(f, key, r, nil)
}

// Compares implements archive.Comparer: a folder knows no checksums.
func (a *Archive) Compares() bool { return true }

// GetSound implements archive.Comparer. A range of more than sound.AtOnce is
// compared while it is read, and a part of one is not, nor what was compared a
// moment ago (sound.Comparer.Open).
func (a *Archive) GetSound(ctx context.Context, key string, r storage.Range, sum archive.Sum) (io.ReadCloser, error) {
	f, info, err := a.open(ctx, key)
	if err != nil {
		return nil, err
	}
	if !sum.Within(info.Size()) {
		f.Close()
		return nil, fmt.Errorf("%w: %q has %d bytes, and %d from %d were put there", storage.ErrCorrupt, key, info.Size(), sum.Length, sum.Offset)
	}
	gate, err := a.comparer.Open(ctx, sound.File{ReaderAt: f, Name: key, Modified: info.ModTime()}, r,
		sound.Sum{Range: sum.Range, Table: crc32.IEEETable, CRC: sum.CRC32})
	if err != nil {
		f.Close()
		return nil, explain("read", key, err)
	}
	return newReader(f, key, r, gate)
}

// open opens the object of a key, and describes its file.
func (a *Archive) open(ctx context.Context, key string) (*os.File, fs.FileInfo, error) {
	if err := errors.Join(ctx.Err(), archive.ValidKey(key)); err != nil {
		return nil, nil, err
	}
	f, err := openBeneath(a.folder, key)
	if errors.Is(err, errors.ErrUnsupported) {
		// O_NONBLOCK keeps the open of a fifo that somebody put there from waiting.
		f, err = a.root.OpenFile(filepath.FromSlash(key), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	}
	if err != nil {
		return nil, nil, explain("open", key, err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if err != nil {
		f.Close()
		return nil, nil, explain("open", key, err)
	}
	return f, info, nil
}

// Stat implements archive.Archive.
func (a *Archive) Stat(ctx context.Context, key string) (archive.Stat, error) {
	if err := errors.Join(ctx.Err(), archive.ValidKey(key)); err != nil {
		return archive.Stat{}, err
	}
	info, err := a.root.Lstat(filepath.FromSlash(key))
	if err == nil && !info.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if err != nil {
		return archive.Stat{}, explain("look at", key, err)
	}
	return archive.Stat{Key: key, Size: info.Size(), Modified: info.ModTime()}, nil
}

// Remove implements archive.Archive. The folders of the key stay.
func (a *Archive) Remove(ctx context.Context, key string) error {
	_, err := a.Stat(ctx, key)
	if err == nil {
		err = a.root.Remove(filepath.FromSlash(key))
	}
	if errors.Is(err, storage.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = a.syncFolder(path.Dir(key))
	}
	return explain("remove", key, err)
}

// List implements archive.Archive. It holds the names of one folder per level
// in memory, and passes over files whose names are no keys.
func (a *Archive) List(ctx context.Context, prefix string) iter.Seq2[archive.Stat, error] {
	return func(yield func(archive.Stat, error) bool) {
		folder := "."
		if cut := strings.LastIndexByte(prefix, '/'); cut >= 0 {
			folder = prefix[:cut]
			if archive.ValidKey(folder) != nil {
				return
			}
		}
		a.walk(ctx, folder, prefix, yield)
	}
}

// walk yields what lies below folder and begins with prefix; it returns false
// when the listing is over.
func (a *Archive) walk(ctx context.Context, folder, prefix string, yield func(archive.Stat, error) bool) bool {
	entries, err := a.readFolder(ctx, folder)
	if err != nil {
		yield(archive.Stat{}, explain("list", folder, err))
		return false
	}
	for _, e := range entries {
		key := path.Join(folder, e.Name())
		switch {
		case archive.ValidKey(key) != nil:
		case e.IsDir():
			below := key + "/"
			if (strings.HasPrefix(below, prefix) || strings.HasPrefix(prefix, below)) && !a.walk(ctx, key, prefix, yield) {
				return false
			}
		case strings.HasPrefix(key, prefix):
			stat, err := a.Stat(ctx, key)
			if errors.Is(err, storage.ErrNotFound) { // removed meanwhile, or no file
				continue
			}
			if !yield(stat, err) || err != nil {
				return false
			}
		}
	}
	return true
}

// readFolder returns a folder's entries in the order of the keys below them:
// a folder sorts as its name with the slash that follows.
func (a *Archive) readFolder(ctx context.Context, folder string) ([]fs.DirEntry, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f, err := a.root.Open(filepath.FromSlash(folder))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	}
	name := func(e fs.DirEntry) string {
		if e.IsDir() {
			return e.Name() + "/"
		}
		return e.Name()
	}
	slices.SortFunc(entries, func(x, y fs.DirEntry) int { return cmp.Compare(name(x), name(y)) })
	return entries, err
}

// explain wraps what the file system said with the error that storage has for
// it, and with what was being done; it returns nil for nil.
func explain(doing, what string, err error) error {
	if err == nil {
		return nil
	}
	var kind error
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ENAMETOOLONG):
		kind = storage.ErrNotFound
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EFBIG):
		kind = storage.ErrFull
	case errors.Is(err, syscall.EROFS), errors.Is(err, syscall.EIO), errors.Is(err, syscall.ESTALE), errors.Is(err, fs.ErrPermission):
		kind = storage.ErrUnavailable
	default:
		return fmt.Errorf("%s %q: %w", doing, what, err)
	}
	return fmt.Errorf("%s %q: %w: %w", doing, what, kind, err)
}
