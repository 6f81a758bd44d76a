package dir

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/esante-alsace/cigogne/storage"
)

// reader reads a range of one file over its own descriptor, which stands at
// the next byte to be read.
type reader struct {
	file *os.File
	left io.LimitedReader // of file itself, so that the kernel may copy it
	key  string
}

// Read implements io.Reader. A file that is shorter than it was when it was
// opened ends with an error that wraps storage.ErrCorrupt.
func (r *reader) Read(p []byte) (int, error) {
	n, err := r.left.Read(p)
	if errors.Is(err, io.EOF) {
		err = r.end()
	}
	return n, err
}

// WriteTo implements io.WriterTo. A writer that implements io.ReaderFrom is
// given the file in an io.LimitedReader, which is what net/http and net look
// for to send it with sendfile, and os to copy it with copy_file_range.
func (r *reader) WriteTo(w io.Writer) (int64, error) {
	from, ok := w.(io.ReaderFrom)
	var n int64
	var err error
	if ok {
		n, err = from.ReadFrom(&r.left)
	} else {
		n, err = io.CopyBuffer(w, &r.left, make([]byte, min(r.left.N+1, bufferSize)))
	}
	if err == nil && r.left.N > 0 {
		err = r.short()
	}
	return n, err
}

func (r *reader) end() error {
	if r.left.N > 0 {
		return r.short()
	}
	return io.EOF
}

func (r *reader) short() error {
	return fmt.Errorf("%w: %q ends %d bytes too early", storage.ErrCorrupt, r.key, r.left.N)
}

// Close closes the file.
func (r *reader) Close() error { return r.file.Close() }
