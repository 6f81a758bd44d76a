package journal

import (
	"bytes"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const (
	// recentFor is how long a record that was read is believed.
	recentFor = time.Minute
	// recentMost bounds how many are, and recentPrefix the prefix of each:
	// they take less than 6 MiB, and 2 when prefixes are File Meta Information.
	recentMost   = 4096
	recentPrefix = 1 << 10
)

// recent remembers records whose payload was read: to read a header of some KiB
// and its checksum again took longer than all else that is done in the process
// to send a payload that was compared a moment ago. What it remembers holds, as
// with package sound, while nobody writes to the segment; the header itself is
// not kept.
type recent struct {
	mu  sync.Mutex
	lru *simplelru.LRU[Position, known]
}

type known struct {
	record   *record // without its header
	modified time.Time
	until    time.Time
}

// get returns the record at a position of a segment that was last modified
// then, without its header, or nil. It is not to be changed.
func (c *recent) get(at Position, modified time.Time) *record {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lru == nil {
		return nil
	}
	found, ok := c.lru.Get(at)
	if !ok || !found.modified.Equal(modified) || !time.Now().Before(found.until) {
		return nil
	}
	return found.record
}

// put remembers a record of a segment that was, before the record was read,
// last modified then. Payloads in large files are not read often enough.
func (c *recent) put(at Position, modified time.Time, r *record) {
	if r.large != 0 || r.prefixLen > recentPrefix {
		return
	}
	kept := *r
	kept.header, kept.prefix = nil, bytes.Clone(r.prefix) // not the memory of both
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lru == nil {
		c.lru, _ = simplelru.NewLRU[Position, known](recentMost, nil) // fails only for a size below 1
	}
	c.lru.Add(at, known{&kept, modified, time.Now().Add(recentFor)})
}
