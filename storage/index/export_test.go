package index

import (
	"context"
	"os"
)

// RenewFilterAfter makes the filter of live names anew after so many.
func (x *Index) RenewFilterAfter(names int) {
	x.filterMost = names
	x.live.Load().most = names
}

// Remembers tells whether Has is answered from memory.
func (x *Index) Remembers(in Instance) bool {
	_, ok := x.fromMemory(&in)
	return ok
}

// Fsync lets a function take the place of fsync.
func (x *Index) Fsync(fsync func(*os.File) error) { x.disk.fsync = fsync }

// PlanFor bounds how many names are walked, and how many studies sorted; 0 is
// as usual.
func (x *Index) PlanFor(names, studies int) { x.namesMost, x.sortMost = names, studies }

// EmptyWALFrom has the -wal emptied from so many bytes on.
func (x *Index) EmptyWALFrom(bytes int64) { x.walMost = bytes }

// Vocabulary is how many bytes of words are held in memory.
func (x *Index) Vocabulary(ctx context.Context) int {
	p, err := x.read.now()
	if err != nil {
		return -1
	}
	said, err := p.words.now(ctx, readsIn{x.read, p})
	if err != nil {
		return -1
	}
	return len(said.names) + len(said.referring)
}

// Narrowed is how many conditions SQL decides of a query.
func (x *Index) Narrowed(ctx context.Context, q Query) (int, error) {
	m, err := Compile(q)
	if err != nil {
		return 0, err
	}
	n := m.narrowing()
	err = x.settlePlan(ctx, n)
	return len(n.where), err
}
