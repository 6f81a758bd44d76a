package journal

import (
	"errors"
	"io/fs"
)

// writebackBytes is after how much of a large file the disk starts writing.
const writebackBytes = 8 << 20

// large is a large file while its payload comes. It is durable before the
// record that refers to it is written, so that the others who share the
// record's fsync don't wait for it.
type large struct {
	j    *Journal
	id   uint64
	file File
	size int64
	told int64 // up to where Writeback was called
	// reserved is up to where space was preallocated.
	reserved int64
}

func (j *Journal) newLarge() (*large, error) {
	for {
		id := random()
		f, err := j.fs.Create(j.largePath(id))
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, j.note(diskError("making a large file", err))
		}
		return &large{j: j, id: id, file: f}, nil
	}
}

// note remembers a failed write for Check.
func (j *Journal) note(err error) error {
	if err != nil {
		j.mu.Lock()
		j.failed = err
		j.mu.Unlock()
	}
	return err
}

// write adds what is in b.
func (l *large) write(b *buffer) error { return l.put(b.vectors(nil, 0, int64(b.size)), int64(b.size)) }

// put adds n bytes.
func (l *large) put(bufs [][]byte, n int64) error {
	l.j.mu.Lock()
	err := l.j.reserve(n)
	if err == nil {
		l.j.largeNow += n
	}
	l.j.mu.Unlock()
	if err != nil {
		return l.j.note(err)
	}
	at := l.size
	l.size += n // also when it fails: discard takes it back
	if l.size > l.reserved {
		step := min(preallocateStep, 2*l.size)
		_ = l.file.Preallocate(at, step) // a hint
		l.reserved = at + step
	}
	if err := l.file.WriteVAt(bufs, at); err != nil {
		return l.j.note(diskError("writing a large file", err))
	}
	for l.size-l.told >= writebackBytes {
		// Linux tells each descriptor once of what did not reach the disk: after
		// this the fsync would say that all is well.
		if err := l.file.Writeback(l.told, writebackBytes); err != nil {
			return l.j.note(diskError("writing a large file", err))
		}
		l.told += writebackBytes
	}
	return nil
}

// finish makes the file durable and closes it.
func (l *large) finish() error {
	err := l.file.Truncate(l.size) // frees what was reserved
	if err == nil {
		err = l.file.Sync()
	}
	if err == nil {
		err = l.j.fs.SyncDir(l.j.largeDir())
	}
	err = closeAfter(l.file, err)
	l.file = nil
	return l.j.note(diskError("making a large file durable", err))
}

// discard deletes the file of an entry that will not be.
func (l *large) discard() {
	if l.file != nil {
		_ = l.file.Close() // nothing in it matters any more
		l.file = nil
	}
	l.j.removeLarge(l.id)
	l.j.mu.Lock()
	l.j.largeNow -= l.size
	l.j.mu.Unlock()
}

// removeLarge deletes a large file that no durable record refers to. One that
// stays behind is deleted by the next Open.
func (j *Journal) removeLarge(id uint64) {
	if err := j.fs.Remove(j.largePath(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		j.o.Logger.Warn("journal could not delete a large file that is not needed", "file", j.largePath(id), "err", err)
	}
}
