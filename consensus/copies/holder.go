package copies

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/journal"
)

// HolderOptions say where a Holder keeps the journals of others.
type HolderOptions struct {
	// Dir has a folder for each journal, of its name.
	Dir string
	// Journal are the options of each; Dir is not used.
	Journal journal.Options
	// Retired tells whether a journal takes nothing any more.
	Retired func(ctx context.Context, id string) (bool, error)
	Timing  Timing
	Logger  *slog.Logger
}

// Holder keeps copies of other nodes' journals. Its methods may be called
// concurrently. Close must be called.
type Holder struct {
	o HolderOptions

	mu     sync.Mutex
	copies map[string]*held
}

// held is one copy and who feeds it.
type held struct {
	*journal.Copy

	mu      sync.Mutex
	session uint64
	conns   map[net.Conn]struct{}
	idle    *sync.Cond // conns is empty
}

// removedSuffix marks the folder of a copy that is being removed.
const removedSuffix = ".removed"

// OpenHolder opens the copies that are there. One that cannot be opened is
// left aside and logged: what it holds lies elsewhere, too.
func OpenHolder(ctx context.Context, o HolderOptions) (*Holder, error) {
	o.Timing = o.Timing.withDefaults()
	h := &Holder{o: o, copies: map[string]*held{}}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("copies of journals: %w", err)
	}
	entries, err := os.ReadDir(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("copies of journals: %w", err)
	}
	for _, e := range entries {
		name := e.Name()
		if strings.HasSuffix(name, removedSuffix) {
			if err := os.RemoveAll(filepath.Join(o.Dir, name)); err != nil {
				return nil, fmt.Errorf("copies of journals: %w", err)
			}
			continue
		}
		if _, err := h.open(ctx, name); err != nil {
			o.Logger.Error("a copy of a journal cannot be opened", "journal", name, "error", err)
		}
	}
	return h, nil
}

// open returns the copy of a journal, and makes it when there is none.
func (h *Holder) open(ctx context.Context, id string) (*held, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c := h.copies[id]; c != nil {
		return c, nil
	}
	o := h.o.Journal
	o.Dir, o.Logger = filepath.Join(h.o.Dir, id), h.o.Logger
	c, err := journal.OpenCopy(ctx, id, o)
	if err != nil {
		return nil, err
	}
	k := &held{Copy: c, conns: map[net.Conn]struct{}{}}
	k.idle = sync.NewCond(&k.mu)
	h.copies[id] = k
	return k, nil
}

// Close gives the copies back, after Serve has returned everywhere.
func (h *Holder) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var errs []error
	for _, c := range h.copies {
		errs = append(errs, c.Close())
	}
	clear(h.copies)
	return errors.Join(errs...)
}

// Copy is the copy of a journal; nil when there is none.
func (h *Holder) Copy(id string) *journal.Copy {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c := h.copies[id]; c != nil {
		return c.Copy
	}
	return nil
}

// Journals names the journals that are held, in order.
func (h *Holder) Journals() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Sorted(maps.Keys(h.copies))
}

// Remove deletes the copy of a journal of which nothing is needed any more.
// It retires it first.
func (h *Holder) Remove(id string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.copies[id]
	if c == nil {
		return nil
	}
	c.Retire()
	c.mu.Lock()
	for alone := false; !alone; {
		alone = c.hangUp(0)
	}
	c.mu.Unlock()
	if err := c.Close(); err != nil {
		return err
	}
	delete(h.copies, id)
	from := filepath.Join(h.o.Dir, id)
	if err := os.Rename(from, from+removedSuffix); err != nil {
		return fmt.Errorf("copies of journals: %w", err)
	}
	if err := os.RemoveAll(from + removedSuffix); err != nil {
		return fmt.Errorf("copies of journals: %w", err)
	}
	return nil
}

// enter lets a connection feed the copy. A live one ends all of another
// session, and returns when they have ended; of several that wait for that the
// last one gets in.
func (k *held) enter(c net.Conn, h hello) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if h.live && !k.hangUp(h.session) || k.session != h.session {
		return fmt.Errorf("%w: the session is over", storage.ErrUnavailable)
	}
	k.conns[c] = struct{}{}
	return nil
}

func (k *held) leave(c net.Conn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.conns, c)
	if len(k.conns) == 0 {
		k.idle.Broadcast()
	}
}

// hangUp ends all connections, and returns when they have ended: true, unless
// another was called meanwhile. The session is the next one's; mu is held.
func (k *held) hangUp(next uint64) bool {
	k.session = next
	for len(k.conns) > 0 && k.session == next {
		for c := range k.conns {
			c.Close()
		}
		k.idle.Wait()
	}
	return k.session == next
}
