package dicom

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/klauspost/compress/flate"

	"github.com/esante-alsace/cigogne/storage"
)

// inflater undoes the deflation of a Data Set (PS3.5 §A.5) that is written to
// it and hands the bytes to a walker, in a goroutine of its own that ends when
// close or abort returns.
type inflater struct {
	in     *io.PipeWriter
	taken  atomic.Int64 // compressed bytes so far
	limits ScanLimits
	done   chan struct{}
	err    error // set before done is closed
}

func startInflater(w *walker, limits ScanLimits) *inflater {
	out, in := io.Pipe()
	f := &inflater{in: in, limits: limits, done: make(chan struct{})}
	go func() {
		defer close(f.done)
		f.err = f.run(out, w)
		// Writers get the error; io.EOF when the rest does not matter.
		out.CloseWithError(f.err)
	}()
	return f
}

func (f *inflater) run(out *io.PipeReader, w *walker) error {
	source := bufio.NewReaderSize(out, 32<<10)
	plain := flate.NewReader(source)
	defer plain.Close()
	buf := make([]byte, 64<<10)
	for total := int64(0); ; {
		n, err := plain.Read(buf)
		total += int64(n)
		if bound := f.check(total); bound != nil {
			return bound
		}
		if err := w.write(buf[:n]); err != nil {
			return err
		}
		switch {
		case err == io.EOF:
			if err := w.close(); err != nil {
				return err
			}
			return padding(source)
		case errors.Is(err, errAborted):
			return err
		case err != nil:
			return fmt.Errorf("%w: deflated Data Set: %w", storage.ErrInvalid, err)
		}
	}
}

func (f *inflater) check(total int64) error {
	const slack = 64 << 20
	if total > f.limits.MaxInflated {
		return fmt.Errorf("%w: the deflated Data Set has more than %d bytes", storage.ErrTooLarge, f.limits.MaxInflated)
	}
	if total > slack && total/f.limits.MaxRatio > f.taken.Load() {
		return fmt.Errorf("%w: the deflated Data Set has more than %d times its length", storage.ErrTooLarge, f.limits.MaxRatio)
	}
	return nil
}

// padding reads what follows the deflated bytes: the NUL that makes their
// number even, or the checksum and length of gzip, which some writers add.
func padding(source *bufio.Reader) error {
	const trailer = 8
	n, err := io.CopyN(io.Discard, source, trailer+1)
	switch {
	case err == nil:
		return fmt.Errorf("%w: more than %d bytes follow the deflated Data Set", storage.ErrInvalid, trailer)
	case n <= trailer && errors.Is(err, io.EOF):
		return nil
	}
	return err
}

var errAborted = errors.New("aborted")

func (f *inflater) write(p []byte) error {
	f.taken.Add(int64(len(p)))
	_, err := f.in.Write(p)
	return err
}

func (f *inflater) close() error {
	f.in.CloseWithError(io.EOF)
	<-f.done
	return f.err
}

func (f *inflater) abort() {
	f.in.CloseWithError(errAborted)
	<-f.done
}
