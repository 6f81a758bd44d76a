package puller

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"syscall"

	"github.com/esante-alsace/cigogne/storage"
)

// ledger is a file that says which ranges of a ZIP file are there, so that a
// pull goes on where it was cut. What it says was written before it says so;
// after a power cut it may still be wrong, so what it names is verified.
type ledger struct {
	path string
	mu   sync.Mutex
	file *os.File
}

// entry is a line of a ledger: the first names the ZIP file, each other one a
// range of it.
type entry struct {
	ETag   string `json:"etag,omitempty"`
	Size   int64  `json:"size,omitempty"`
	Offset int64  `json:"offset,omitempty"`
	Length int64  `json:"length,omitempty"`
}

// maxLine bounds a line of a ledger.
const maxLine = 4 << 10

// openLedger opens the ledger for a plan and returns what it says; false when
// there is none, or one of another ZIP file, which is begun anew. Who has it
// open is alone in its place: for others it is storage.ErrUnavailable.
func openLedger(path string, p *plan) (*ledger, []storage.Range, bool, error) {
	f, err := lockedFile(path)
	if err != nil {
		return nil, nil, false, err
	}
	there, same, err := readLedger(f, p)
	// A line that a crash left unfinished ends here.
	head := []byte("\n")
	if err == nil && !same {
		head = append(line(entry{ETag: p.ETag, Size: p.Size}), '\n')
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = f.Write(head)
	}
	if err != nil {
		f.Close()
		return nil, nil, false, err
	}
	return &ledger{path: path, file: f}, there, same, nil
}

// lockedFile opens a file to be appended to, and locks it until it is closed.
// Where there are no locks nothing keeps two from it.
func lockedFile(path string) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return nil, err
		}
		if errors.Is(syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB), syscall.EWOULDBLOCK) {
			f.Close()
			return nil, fmt.Errorf("%w: another pull is at work there: it has %s", storage.ErrUnavailable, path)
		}
		opened, err := f.Stat()
		if err == nil {
			var now fs.FileInfo
			if now, err = os.Stat(path); err == nil && os.SameFile(opened, now) {
				return f, nil
			}
		}
		f.Close()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		// Who had it has removed it, and is at its end.
	}
}

// readLedger reads until what is no line of a ledger, as a power cut may leave
// it.
func readLedger(f *os.File, p *plan) (there []storage.Range, same bool, err error) {
	lines := bufio.NewScanner(f)
	lines.Buffer(make([]byte, 0, maxLine), maxLine)
	for lines.Scan() {
		var e entry
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			continue // it was cut
		}
		r := storage.Range{Offset: e.Offset, Length: e.Length}
		switch {
		case !same && (e.ETag != p.ETag || e.Size != p.Size):
			return nil, false, nil
		case !same:
			same = true
		case r.Within(p.Size):
			there = append(there, r)
		}
	}
	if err = lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		err = nil
	}
	return there, same, err
}

func line(e entry) []byte {
	b, err := json.Marshal(e)
	if err != nil { // cannot be: numbers and a string
		return nil
	}
	return b
}

// note says that a range is there.
func (l *ledger) note(r storage.Range) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := l.file.Write(append(line(entry{Offset: r.Offset, Length: r.Length}), '\n'))
	return err
}

func (l *ledger) close() error { return l.file.Close() }

// remove ends with the ledger: all is there. It is locked until it is gone.
func (l *ledger) remove() error { return errors.Join(os.Remove(l.path), l.close()) }
