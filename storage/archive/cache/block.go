package cache

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
)

// A block's file is its bytes, the key, and a trailer of fixed length:
// magic, CRC-32C of all before the CRC, the object's size, the block's number
// and length, the length of the key.
const (
	magic    = "cgc1"
	trailer  = 4 + 8 + 8 + 8 + 4 + 4
	staged   = ".new-"
	bytesTop = 1 << 30 // no block is larger
)

// file is the name of a block's file; keys may be longer than names may be.
func (id blockID) file() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %s", id.at, id.key))
	return hex.EncodeToString(sum[:])
}

func encode(id blockID, size int64, data []byte) []byte {
	b := slices.Concat(data, []byte(id.key), []byte(magic))
	b = binary.BigEndian.AppendUint64(b, uint64(size))        //nolint:gosec // not negative
	b = binary.BigEndian.AppendUint64(b, uint64(id.at))       //nolint:gosec // not negative
	b = binary.BigEndian.AppendUint64(b, uint64(len(data)))   //nolint:gosec // not negative
	b = binary.BigEndian.AppendUint32(b, uint32(len(id.key))) //nolint:gosec // at most 512
	return binary.BigEndian.AppendUint32(b, checksum(b))
}

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// decode reads a block's file; what is wrong with it is storage.ErrCorrupt.
func decode(b []byte) (id blockID, size int64, data []byte, err error) {
	damaged := fmt.Errorf("%w: block of the cache", storage.ErrCorrupt)
	if len(b) < trailer || checksum(b[:len(b)-4]) != binary.BigEndian.Uint32(b[len(b)-4:]) {
		return id, 0, nil, damaged
	}
	rest, t := b[:len(b)-trailer], b[len(b)-trailer:]
	length, keyLength := binary.BigEndian.Uint64(t[20:]), binary.BigEndian.Uint32(t[28:])
	if string(t[:4]) != magic || length > bytesTop || uint64(len(rest)) != length+uint64(keyLength) {
		return id, 0, nil, damaged
	}
	id = blockID{key: string(rest[length:]), at: int64(binary.BigEndian.Uint64(t[12:]))} //nolint:gosec // checked below
	size = int64(binary.BigEndian.Uint64(t[4:]))                                         //nolint:gosec // checked below
	if archive.ValidKey(id.key) != nil || id.at < 0 || size < 0 {
		return id, 0, nil, damaged
	}
	return id, size, rest[:length:length], nil
}

// load finds what a cache of before kept, the oldest first. Files that are
// none of its blocks, or of another block length, are removed.
func (c *Cache) load() error {
	entries, err := fs.ReadDir(c.root.FS(), ".")
	if err != nil {
		return err
	}
	type found struct {
		id   blockID
		size int64
		info fs.FileInfo
	}
	var all []found
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		id, size, err := c.peek(e.Name(), info.Size())
		if err != nil || id.file() != e.Name() {
			_ = c.root.Remove(e.Name())
			continue
		}
		all = append(all, found{id, size, info})
	}
	slices.SortFunc(all, func(x, y found) int { return x.info.ModTime().Compare(y.info.ModTime()) })
	for _, f := range all {
		c.sizes.Add(f.id.key, object{size: f.size})
		c.admit(f.id, f.info.Size())
	}
	return nil
}

// peek reads which block a file holds, without its bytes.
func (c *Cache) peek(name string, length int64) (id blockID, size int64, err error) {
	bad := fmt.Errorf("%w: %s", storage.ErrCorrupt, name)
	if strings.HasPrefix(name, staged) || length < trailer {
		return id, 0, bad
	}
	f, err := c.root.Open(name)
	if err != nil {
		return id, 0, err
	}
	defer f.Close()
	t := make([]byte, trailer)
	if _, err := f.ReadAt(t, length-trailer); err != nil {
		return id, 0, err
	}
	data, keyLength := int64(binary.BigEndian.Uint64(t[20:])), int64(binary.BigEndian.Uint32(t[28:])) //nolint:gosec // checked
	if string(t[:4]) != magic || keyLength > 512 || data != length-trailer-keyLength {
		return id, 0, bad
	}
	key := make([]byte, keyLength)
	if _, err := f.ReadAt(key, data); err != nil {
		return id, 0, err
	}
	id = blockID{string(key), int64(binary.BigEndian.Uint64(t[12:]))} //nolint:gosec // checked
	size = int64(binary.BigEndian.Uint64(t[4:]))                      //nolint:gosec // checked
	if archive.ValidKey(id.key) != nil || id.at < 0 || id.at > size/c.o.BlockBytes || data != c.lengthOf(id.at, size) {
		return id, 0, bad
	}
	return id, size, nil
}

// lengthOf is the length of a block of an object.
func (c *Cache) lengthOf(at, size int64) int64 {
	return min(c.o.BlockBytes, size-at*c.o.BlockBytes)
}

// admit takes a block that lies on the disk into account, and drops the least
// recently used ones to make room. The caller holds mu.
func (c *Cache) admit(id blockID, length int64) {
	if before, ok := c.blocks.Peek(id); ok {
		c.bytes -= before
	}
	c.blocks.Add(id, length)
	c.bytes += length
	for c.bytes > c.o.MaxBytes {
		oldest, _, ok := c.blocks.GetOldest()
		if !ok {
			return
		}
		c.evict(oldest)
	}
}

// evict removes a block. The caller holds mu.
func (c *Cache) evict(id blockID) {
	if length, ok := c.blocks.Peek(id); ok {
		c.blocks.Remove(id)
		c.bytes -= length
		_ = c.root.Remove(id.file()) // somebody may have
	}
}

// readFile reads a block's file into buf, which grows as far as it must.
func (c *Cache) readFile(id blockID, buf *[]byte) ([]byte, error) {
	f, err := c.root.Open(id.file())
	if err != nil {
		return nil, err
	}
	defer f.Close()
	most := int(c.o.BlockBytes) + trailer + 512 // the longest key
	if len(*buf) < most+1 {
		*buf = make([]byte, most+1)
	}
	n, err := io.ReadFull(f, *buf)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil // what is longer is no block
	}
	return (*buf)[:n], err
}

// block returns a block that is on the disk, in buf.
func (c *Cache) block(id blockID, size int64, buf *[]byte) ([]byte, bool) {
	c.mu.Lock()
	_, ok := c.blocks.Get(id)
	c.mu.Unlock()
	if !ok {
		return nil, false
	}
	raw, err := c.readFile(id, buf)
	if err == nil {
		_ = c.root.Chtimes(id.file(), time.Time{}, time.Now()) // its age, for the next load
		found, was, data, bad := decode(raw)
		if bad == nil && found == id && was == size && int64(len(data)) == c.lengthOf(id.at, size) {
			return data, true
		}
		err = storage.ErrCorrupt
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !errors.Is(err, os.ErrNotExist) {
		c.stats.Damaged++
	}
	c.evict(id)
	return nil, false
}

// store writes a block that a fetch brought, unless its object was dropped.
func (c *Cache) store(f *fetch, id blockID, size int64, data []byte) error {
	raw := encode(id, size, data)
	name := staged + id.file()
	if err := c.root.WriteFile(name, raw, 0o640); err != nil {
		_ = c.root.Remove(name)
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.stale {
		_ = c.root.Remove(name)
		return fmt.Errorf("%w: %q was removed while it was read", storage.ErrNotFound, id.key)
	}
	if err := c.root.Rename(name, id.file()); err != nil {
		return err
	}
	c.admit(id, int64(len(raw)))
	return nil
}
