package workload

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/esante-alsace/cigogne/benchmarks"
	"github.com/esante-alsace/cigogne/benchmarks/material"
)

// diskFiles writes each instance into a file of its own.
func diskFiles(writers int, fsync bool) driver {
	return func(ctx context.Context, r benchmarks.Round) (benchmarks.Work, error) {
		return together(ctx, r, writers, func(_ context.Context, part []material.Instance) error {
			buf := make([]byte, copyBuffer)
			for i := range part {
				if err := writeFile(filepath.Join(r.At.Dir, part[i].SOPInstanceUID), part[i].Path, fsync, buf); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

func writeFile(path, from string, fsync bool, buf []byte) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := copyFile(f, from, buf); err != nil {
		return err
	}
	if fsync {
		return f.Sync()
	}
	return nil
}

// diskSegment appends the instances to one file with an fsync for every so
// many of them.
func diskSegment(writers, every int) driver {
	return func(ctx context.Context, r benchmarks.Round) (benchmarks.Work, error) {
		f, err := os.Create(filepath.Join(r.At.Dir, "segment"))
		if err != nil {
			return benchmarks.Work{}, err
		}
		defer f.Close()
		var mu sync.Mutex
		written := 0
		return together(ctx, r, writers, func(_ context.Context, part []material.Instance) error {
			buf := make([]byte, copyBuffer)
			for i := range part {
				mu.Lock()
				err := copyFile(f, part[i].Path, buf)
				if written++; err == nil && written%every == 0 {
					err = f.Sync()
				}
				mu.Unlock()
				if err != nil {
					return err
				}
			}
			return f.Sync()
		})
	}
}

// loopback copies the instances through TCP connections to a reader that
// throws them away.
func loopback(connections int) driver { return raw(connections, "127.0.0.1", &net.Dialer{}, false) }

// raw is what TCP alone does between a listener on the host and the dialer's
// end: towards the listener, or back from it.
func raw(connections int, host string, d dialer, back bool) driver {
	return func(ctx context.Context, r benchmarks.Round) (benchmarks.Work, error) {
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			return benchmarks.Work{}, err
		}
		defer l.Close()
		defer context.AfterFunc(ctx, func() { l.Close() })()
		return together(ctx, r, connections, func(ctx context.Context, part []material.Instance) error {
			return stream(ctx, l, d, part, back)
		})
	}
}

func stream(ctx context.Context, l net.Listener, d dialer, part []material.Instance, back bool) error {
	send := func(c net.Conn) error {
		defer c.Close()
		buf := make([]byte, copyBuffer)
		for i := range part {
			if err := copyFile(c, part[i].Path, buf); err != nil {
				return err
			}
		}
		return nil
	}
	receive := func(c net.Conn) error {
		defer c.Close()
		_, err := drain(c)
		return err
	}
	near, far := receive, send
	if back {
		near, far = send, receive
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		return near(c)
	})
	g.Go(func() error {
		c, err := d.DialContext(ctx, "tcp", l.Addr().String())
		if err != nil {
			return err
		}
		return far(c)
	})
	return g.Wait()
}

// drain reads to the end in large pieces.
func drain(r io.Reader) (int64, error) {
	return io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r}, make([]byte, copyBuffer))
}
