package journal_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/journal"
)

var (
	errPower = errors.New("the power is gone")
	errDisk  = fmt.Errorf("the disk failed: %w", syscall.EIO)
)

// memFS is a file system in memory that forgets, when the power goes, what
// was not synced: any part of it, in any order, torn at any byte.
type memFS struct {
	mu      sync.Mutex
	rnd     *rand.Rand
	live    map[string]*inode // what a process sees
	durable map[string]*inode // what SyncDir made last
	locked  map[string]bool
	ops     int
	// crashAt is the operation at which the power goes; 0: never.
	crashAt int
	dead    bool
	// space is how many bytes may be written still; -1: no limit.
	space int64
	// failSync says which Syncs fail, by the file's name; as on Linux, the
	// bytes are lost and the next Sync succeeds.
	failSync func(name string) bool
	// failWriteback says the same of Writeback.
	failWriteback func(name string) bool
	// failStart says which StartWritebacks fail, and early counts those that
	// do not.
	failStart func(name string) bool
	early     int
	// onSync is called at the beginning of each file's Sync.
	onSync func(name string)
}

type inode struct {
	live, durable []byte
	unsynced      []change
	changes       int64 // of live
}

// change is a write, or, with nil data, a truncation to off.
type change struct {
	off  int64
	data []byte
}

func (c change) apply(b []byte) []byte {
	if c.data == nil {
		return resize(b, c.off)
	}
	b = resize(b, max(int64(len(b)), c.off+int64(len(c.data))))
	copy(b[c.off:], c.data)
	return b
}

func resize(b []byte, n int64) []byte {
	if n <= int64(len(b)) {
		return b[:n:n]
	}
	return append(b[:len(b):len(b)], make([]byte, n-int64(len(b)))...)
}

func newMemFS(seed uint64) *memFS {
	return &memFS{
		rnd: rand.New(rand.NewPCG(seed, 1)), space: -1,
		live: map[string]*inode{}, durable: map[string]*inode{}, locked: map[string]bool{},
	}
}

// step counts an operation that changes the disk; it is the boundary at which
// the power may go. mu is held.
func (m *memFS) step() error {
	m.ops++
	if m.ops == m.crashAt {
		m.dead = true
	}
	if m.dead {
		return errPower
	}
	return nil
}

// reboot returns the disk as it might be after the power went.
func (m *memFS) reboot() *memFS {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dead = true
	after := newMemFS(m.rnd.Uint64())
	after.space = m.space
	names := map[string]bool{}
	for name := range m.live {
		names[name] = true
	}
	for name := range m.durable {
		names[name] = true
	}
	for name := range names {
		node := m.durable[name]
		if m.rnd.IntN(2) == 0 {
			node = m.live[name] // its creation or removal came through
		}
		if node != nil {
			b := m.survive(node)
			n := &inode{live: b, durable: append([]byte(nil), b...)}
			after.live[name], after.durable[name] = n, n
		}
	}
	return after
}

// survive is the file's content after the power went.
func (m *memFS) survive(n *inode) []byte {
	b := append([]byte(nil), n.durable...)
	for _, c := range n.unsynced {
		switch kept := m.rnd.IntN(3); {
		case kept == 0:
		case kept == 1 && len(c.data) > 1:
			from := m.rnd.IntN(len(c.data))
			to := from + m.rnd.IntN(len(c.data)-from)
			if m.rnd.IntN(2) == 0 {
				from = 0
			}
			if to > from {
				b = change{off: c.off + int64(from), data: c.data[from:to]}.apply(b)
			}
		default:
			b = c.apply(b)
		}
	}
	return b
}

func (m *memFS) MkdirAll(string) error { return nil }

func (m *memFS) ReadDir(dir string) (map[string]int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	sizes := map[string]int64{}
	for name, n := range m.live {
		if filepath.Dir(name) == dir {
			sizes[filepath.Base(name)] = int64(len(n.live))
		}
	}
	return sizes, nil
}

func (m *memFS) Create(name string) (journal.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.step(); err != nil {
		return nil, err
	}
	if m.live[name] != nil {
		return nil, fs.ErrExist
	}
	n := &inode{}
	m.live[name] = n
	return &memFile{fs: m, name: name, node: n}, nil
}

func (m *memFS) Open(name string) (journal.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.live[name]
	if n == nil {
		return nil, fs.ErrNotExist
	}
	return &memFile{fs: m, name: name, node: n}, nil
}

func (m *memFS) Reopen(name string) (journal.File, error) { return m.Open(name) }

func (m *memFS) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.step(); err != nil {
		return err
	}
	n := m.live[name]
	if n == nil {
		return fs.ErrNotExist
	}
	delete(m.live, name)
	if m.space >= 0 {
		m.space += int64(len(n.live))
	}
	return nil
}

func (m *memFS) SyncDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.step(); err != nil {
		return err
	}
	for name := range m.durable {
		if filepath.Dir(name) == dir && m.live[name] == nil {
			delete(m.durable, name)
		}
	}
	for name, n := range m.live {
		if filepath.Dir(name) == dir {
			m.durable[name] = n
		}
	}
	return nil
}

func (m *memFS) LockDir(dir string, _ bool) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.locked[dir] {
		return nil, errors.New("locked")
	}
	m.locked[dir] = true
	return closer(func() { delete(m.locked, dir) }), nil
}

type closer func()

func (c closer) Close() error { c(); return nil }

// flip damages one byte of a file, as a disk might.
func (m *memFS) flip(name string, off int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.live[name]
	n.live = append([]byte(nil), n.live...)
	n.live[off] ^= 0x40
	n.changes++
}

// memFile is an open file of a memFS.
type memFile struct {
	fs   *memFS
	name string
	node *inode
}

func (f *memFile) Close() error { return nil }

// Stat tells of flips, too: what a kernel has read it does not read again.
func (f *memFile) Stat() (int64, time.Time, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return int64(len(f.node.live)), time.Unix(0, f.node.changes), nil
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if off >= int64(len(f.node.live)) {
		return 0, io.EOF
	}
	n := copy(p, f.node.live[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) Stream(r storage.Range) (io.Reader, error) {
	return io.NewSectionReader(f, r.Offset, r.Length), nil
}

func (f *memFile) WriteVAt(bufs [][]byte, off int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	var data []byte
	for _, b := range bufs {
		data = append(data, b...)
	}
	err := f.fs.step()
	if err != nil && len(data) > 0 {
		data = data[:f.fs.rnd.IntN(len(data))] // torn by the power itself
	}
	grow := max(off+int64(len(data))-int64(len(f.node.live)), 0)
	if f.fs.space >= 0 {
		if grow > f.fs.space {
			data = data[:max(int64(len(data))-(grow-f.fs.space), 0)]
			if grow = f.fs.space; len(data) == 0 {
				grow = 0 // it began behind a hole
			}
			err = errors.Join(err, syscall.ENOSPC)
		}
		f.fs.space -= grow
	}
	if len(data) > 0 {
		f.change(change{off: off, data: data})
	}
	return err
}

func (f *memFile) change(c change) {
	f.node.live = c.apply(append([]byte(nil), f.node.live...))
	f.node.unsynced = append(f.node.unsynced, c)
	f.node.changes++
}

func (f *memFile) Truncate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.step(); err != nil {
		return err
	}
	if f.fs.space >= 0 {
		f.fs.space += int64(len(f.node.live)) - size
	}
	f.change(change{off: size})
	return nil
}

func (f *memFile) Preallocate(int64, int64) error { return nil }

func (f *memFile) Writeback(int64, int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.fs.failWriteback != nil && f.fs.failWriteback(f.name) {
		f.node.unsynced = nil
		return errDisk
	}
	return nil
}

// StartWriteback loses, when it fails, what was written in the range.
func (f *memFile) StartWriteback(off, n int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.fs.failStart == nil || !f.fs.failStart(f.name) {
		f.fs.early++
		return nil
	}
	f.node.unsynced = slices.DeleteFunc(f.node.unsynced, func(c change) bool {
		return c.data != nil && c.off < off+n && c.off+int64(len(c.data)) > off
	})
	return errDisk
}

func (f *memFile) Sync() error {
	if f.fs.onSync != nil {
		f.fs.onSync(f.name)
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.step(); err != nil {
		return err
	}
	if f.fs.failSync != nil && f.fs.failSync(f.name) {
		f.node.unsynced = nil
		return errDisk
	}
	// What an earlier failed Sync lost stays lost: only changes are applied.
	for _, c := range f.node.unsynced {
		f.node.durable = c.apply(f.node.durable)
	}
	f.node.unsynced = nil
	return nil
}
