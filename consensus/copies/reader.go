package copies

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/journal"
)

// Store is what a journal and the copy of one have in common.
type Store interface {
	ID() string
	Header(ctx context.Context, at journal.Position) (journal.Entry, error)
	Read(ctx context.Context, at journal.Position, part storage.Range) (io.ReadCloser, error)
}

// ReaderOptions say where journals are to be found.
type ReaderOptions struct {
	// Own is this node's journal.
	Own    Store
	Holder *Holder
	// Nodes lists the others that may have a journal or a copy of it, the
	// likeliest first.
	Nodes func(ctx context.Context, journal string) []string
	// Client makes calls to a node.
	Client func(node string) (*http.Client, error)
	// AtOnce bounds what is read from one node at a time; others wait. 0 means
	// 256.
	AtOnce int
}

// readsAtOnce is a quarter of the connections that a node's peer port has room
// for: each reading takes one for as long as its reader takes, and those who
// read slowly are not to have them all. Proposals and questions about the index
// need some, too.
const readsAtOnce = 256

// Reader reads instances by where they lie, in whatever journal of the
// cluster: in this node's, in a copy that it holds, or from another node.
type Reader struct {
	o ReaderOptions

	mu    sync.Mutex
	under map[string]chan struct{} // by node, holds a token for what is being read from it
}

// NewReader returns a Reader. Other nodes are asked when something is read that
// does not lie here.
func NewReader(o ReaderOptions) *Reader {
	o.AtOnce = cmp.Or(o.AtOnce, readsAtOnce)
	return &Reader{o: o, under: map[string]chan struct{}{}}
}

// here is the journal or the copy of it on this node, or nil.
func (r *Reader) here(id index.JournalID) Store {
	if string(id) == r.o.Own.ID() {
		return r.o.Own
	}
	if c := r.o.Holder.Copy(string(id)); c != nil {
		return c
	}
	return nil
}

func position(p index.Position) journal.Position {
	return journal.Position{Segment: p.Segment, Offset: p.Offset}
}

// damaged tells that an entry is not what was written, or that the disk does not
// read it: a copy may have it.
func damaged(err error) bool {
	return errors.Is(err, storage.ErrCorrupt) || errors.Is(err, syscall.EIO)
}

// Header is journal.Journal's. It is storage.ErrNotFound when no node has the
// entry, storage.ErrUnavailable when one that may have it does not answer. What
// is damaged in this node's own journal comes from a copy that is not.
func (r *Reader) Header(ctx context.Context, at index.Position) (e journal.Entry, err error) {
	var here error
	if s := r.here(at.Journal); s != nil {
		e, err := s.Header(ctx, position(at))
		own := string(at.Journal) == r.o.Own.ID()
		if own && damaged(err) {
			here = err
		} else if err == nil || own {
			return e, err
		}
	}
	err = r.ask(ctx, at, "header", nil, func(resp *http.Response) (err error) {
		defer resp.Body.Close()
		e.Position = position(at)
		if e.Size, err = strconv.ParseInt(resp.Header.Get(sizeHeader), 10, 64); err != nil || e.Size < 0 {
			return fmt.Errorf("%w: %s", storage.ErrUnavailable, sizeHeader)
		}
		e.Header, err = io.ReadAll(io.LimitReader(resp.Body, journal.MaxHeaderBytes+1))
		if err == nil && (len(e.Header) > journal.MaxHeaderBytes || int64(len(e.Header)) != resp.ContentLength) {
			err = fmt.Errorf("%w: a header of %d bytes", storage.ErrUnavailable, len(e.Header))
		}
		return err
	})
	if err != nil {
		return journal.Entry{}, cmp.Or(here, err)
	}
	return e, nil
}

// Read is journal.Journal's, with the errors of Header. What comes from
// another node is checked on the way, and goes on from the next when one fails.
// What is damaged in this node's own journal comes from a copy that is not.
func (r *Reader) Read(ctx context.Context, at index.Position, part storage.Range) (io.ReadCloser, error) {
	var here error
	if s := r.here(at.Journal); s != nil {
		body, err := s.Read(ctx, position(at), part)
		own := string(at.Journal) == r.o.Own.ID()
		if own && damaged(err) {
			here = err
		} else if err == nil || own || errors.Is(err, storage.ErrInvalid) {
			return body, err
		}
	}
	b := &remote{ctx: ctx, reader: r, at: at, left: part, failed: map[string]bool{}}
	if err := b.open(); err != nil {
		return nil, cmp.Or(here, err)
	}
	return b, nil
}

// ask asks the nodes that may have an entry, one after another, until use
// takes an answer.
func (r *Reader) ask(ctx context.Context, at index.Position, what string, failed map[string]bool, use func(*http.Response) error) error {
	notFound := fmt.Errorf("%w: no node has %d:%d of journal %s", storage.ErrNotFound, at.Segment, at.Offset, at.Journal)
	why := notFound
	for _, node := range r.o.Nodes(ctx, string(at.Journal)) {
		if failed[node] {
			why = fmt.Errorf("%w: node %s failed", storage.ErrUnavailable, node)
			continue
		}
		resp, err := r.get(ctx, node, at, what) //nolint:bodyclose // use closes it, or whoever it gives it to
		if err == nil {
			err = use(resp)
		}
		if err == nil {
			if failed != nil {
				failed[node] = true // when it is asked again, it has failed
			}
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !errors.Is(err, storage.ErrNotFound) {
			why = err
		}
	}
	return why
}

// enter waits until something may be read from a node, or ctx ends.
func (r *Reader) enter(ctx context.Context, node string) (leave func(), err error) {
	r.mu.Lock()
	under := r.under[node]
	if under == nil {
		under = make(chan struct{}, r.o.AtOnce)
		r.under[node] = under
	}
	r.mu.Unlock()
	select {
	case under <- struct{}{}:
		return sync.OnceFunc(func() { <-under }), nil
	case <-ctx.Done():
		return nil, fmt.Errorf("so much is read from node %s at once: %w", node, context.Cause(ctx))
	}
}

// askTimeout bounds the wait for the beginning of an answer.
const askTimeout = 5 * time.Second

func (r *Reader) get(ctx context.Context, node string, at index.Position, what string) (*http.Response, error) {
	c, err := r.o.Client(node)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	late := time.AfterFunc(askTimeout, func() { cancel(fmt.Errorf("%w: node %s does not answer", storage.ErrUnavailable, node)) })
	leave, err := r.enter(ctx, node)
	if err != nil {
		late.Stop()
		cancel(nil)
		return nil, err
	}
	end := func() { cancel(nil); leave() }
	req, err := http.NewRequestWithContext(ctx, http.MethodGet,
		fmt.Sprintf("http://%s%s%s/%d/%d/%s", node, Path, at.Journal, at.Segment, at.Offset, what), nil)
	if err != nil {
		end()
		return nil, err
	}
	resp, err := c.Do(req)
	if !late.Stop() && err == nil {
		resp.Body.Close()
		err = context.Cause(ctx)
	}
	if err != nil {
		end()
		var call *url.Error
		if errors.As(err, &call) {
			err = call.Err // who reads needs not know where it lies
		}
		// Its text alone: a certificate that is refused is a node's, not of who reads.
		return nil, fmt.Errorf("%w: node %s: %s", storage.ErrUnavailable, node, err.Error())
	}
	resp.Body = &ending{resp.Body, end}
	switch resp.StatusCode {
	case http.StatusOK:
		return resp, nil
	case http.StatusNotFound:
		err = storage.ErrNotFound
	case http.StatusBadRequest:
		err = storage.ErrInvalid
	default:
		err = storage.ErrUnavailable
	}
	resp.Body.Close()
	return nil, fmt.Errorf("%w: node %s: %s", err, node, resp.Status)
}

// ending ends its call when it is closed.
type ending struct {
	io.ReadCloser
	end func()
}

func (e *ending) Close() error {
	defer e.end()
	return e.ReadCloser.Close()
}

// remote is a range that comes from other nodes.
type remote struct {
	ctx    context.Context //nolint:containedctx // it is that of Read, and lives as long as what that returned
	reader *Reader
	at     index.Position
	left   storage.Range
	failed map[string]bool
	resp   *http.Response
	sum    hash.Hash32
}

// open asks for what is left.
func (b *remote) open() error {
	what := fmt.Sprintf("%d/%d", b.left.Offset, b.left.Length)
	return b.reader.ask(b.ctx, b.at, what, b.failed, func(resp *http.Response) error {
		b.resp, b.sum = resp, crc32.New(castagnoli())
		return nil
	})
}

func (b *remote) Read(p []byte) (int, error) {
	for b.left.Length > 0 {
		n, err := b.resp.Body.Read(p[:min(int64(len(p)), b.left.Length)])
		b.sum.Write(p[:n])
		b.left.Offset += int64(n)
		b.left.Length -= int64(n)
		if b.left.Length == 0 {
			if err := b.check(); err != nil {
				return 0, err
			}
		}
		if n > 0 || len(p) == 0 {
			return n, nil
		}
		if err != nil {
			b.resp.Body.Close()
			if b.ctx.Err() != nil {
				return 0, b.ctx.Err()
			}
			if err := b.open(); err != nil {
				return 0, err
			}
		}
	}
	return 0, io.EOF
}

// check holds what came from the last node against its checksum.
func (b *remote) check() error {
	if n, err := io.Copy(io.Discard, b.resp.Body); err != nil || n > 0 { // the trailer comes with the end
		return fmt.Errorf("%w: the end of what another node sent: %d bytes too many (%w)", storage.ErrUnavailable, n, err)
	}
	if got, want := fmt.Sprintf("%08x", b.sum.Sum32()), b.resp.Trailer.Get(sumTrailer); got != want {
		return fmt.Errorf("%w: what another node sent has checksum %s, and not %s", storage.ErrCorrupt, got, want)
	}
	return nil
}

func (b *remote) Close() error {
	if b.resp == nil {
		return nil
	}
	return b.resp.Body.Close()
}
