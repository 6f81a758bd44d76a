package puller

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"runtime"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/esante-alsace/cigogne/storage"
)

// place is where instances are put.
type place interface {
	// begun tells whether something is there already.
	begun() bool
	// begin prepares for a plan. It returns which instances are there and
	// whole, and the ranges that need not be fetched.
	begin(ctx context.Context, p *plan) (whole []bool, there []storage.Range, err error)
	// open opens the file of an instance, with positions from its begin.
	open(i int) (file, error)
	// gap keeps bytes between instances.
	gap(b []byte, offset int64) error
	// written tells that a range was, so that it needs not be fetched again.
	written(r storage.Range) error
	// complete ends with an instance that is whole. It calls kept, then or
	// later, when a pull that goes on after this one was killed finds it.
	complete(i int, kept func()) error
	// finish ends when all is there that can be: what has its name is then
	// durable. A place that can have none without all of it keeps what it has.
	finish(ctx context.Context, all bool) error
	// close gives back what is open, finished or not.
	close() error
}

type file interface {
	io.WriterAt
	io.ReaderAt
	io.Closer
}

// partSuffix is that of what is not whole yet.
const partSuffix = ".part"

// verifyAll looks which instances are whole, of those that may be.
func verifyAll(ctx context.Context, p *plan, maybe func(i int) bool, open func(i int) (file, error)) ([]bool, error) {
	whole := make([]bool, len(p.Instances))
	g, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for range runtime.GOMAXPROCS(0) {
		g.Go(func() error {
			buf := make([]byte, copyBytes)
			for i := int(next.Add(1)) - 1; i < len(whole) && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if !maybe(i) {
					continue
				}
				f, err := open(i)
				if errors.Is(err, fs.ErrNotExist) {
					continue
				}
				if err != nil {
					return err
				}
				whole[i], err = verify(f, p.Instances[i], buf)
				f.Close()
				if err != nil {
					return err
				}
			}
			return ctx.Err()
		})
	}
	return whole, g.Wait()
}

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
