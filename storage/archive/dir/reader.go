package dir

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/sound"
)

// reader reads a range of one file over its own descriptor, which stands at
// the next byte to be read.
type reader struct {
	file *os.File
	left io.LimitedReader // of file itself, so that the kernel may copy it
	key  string
	gate *sound.Gate // nil when all may go out
}

// newReader takes f over.
func newReader(f *os.File, key string, r storage.Range, gate *sound.Gate) (io.ReadCloser, error) {
	if _, err := f.Seek(r.Offset, io.SeekStart); err != nil {
		f.Close()
		return nil, explain("read", key, err)
	}
	return &reader{file: f, left: io.LimitedReader{R: f, N: r.Length}, key: key, gate: gate}, nil
}

// Proven implements archive.Prover.
func (r *reader) Proven() bool { return r.gate.Proven() }

// Read implements io.Reader. A file that is shorter than it was when it was
// opened ends with an error that wraps storage.ErrCorrupt.
func (r *reader) Read(p []byte) (int, error) {
	most, err := r.gate.Next()
	if err != nil {
		return 0, err
	}
	n, err := r.left.Read(p[:min(int64(len(p)), most)])
	r.gate.Gave(int64(n))
	if errors.Is(err, io.EOF) {
		err = r.end()
	}
	return n, err
}

// WriteTo implements io.WriterTo. A writer that implements io.ReaderFrom is
// given the file in an io.LimitedReader, which is what net/http and net look
// for to send it with sendfile, and os to copy it with copy_file_range.
func (r *reader) WriteTo(w io.Writer) (int64, error) {
	return r.gate.Give(&r.left.N, func(n int64) (int64, error) {
		return write(w, &io.LimitedReader{R: r.file, N: n})
	}, r.short)
}

func write(w io.Writer, from *io.LimitedReader) (int64, error) {
	if f, ok := w.(io.ReaderFrom); ok {
		return f.ReadFrom(from)
	}
	return io.CopyBuffer(w, from, make([]byte, min(from.N+1, bufferSize)))
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
