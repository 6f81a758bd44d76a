package puller

import (
	"bufio"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"sync"

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
// there is none, or one of another ZIP file, which is begun anew.
func openLedger(path string, p *plan) (*ledger, []storage.Range, bool, error) {
	there, same, err := readLedger(path, p)
	if err != nil {
		return nil, nil, false, err
	}
	flags := os.O_WRONLY | os.O_CREATE | os.O_APPEND
	if !same {
		flags |= os.O_TRUNC
	}
	f, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return nil, nil, false, err
	}
	l := &ledger{path: path, file: f}
	// A line that a crash left unfinished ends here.
	head := []byte("\n")
	if !same {
		head = append(line(entry{ETag: p.ETag, Size: p.Size}), '\n')
	}
	if _, err := f.Write(head); err != nil {
		f.Close()
		return nil, nil, false, err
	}
	return l, there, same, nil
}

func readLedger(path string, p *plan) (there []storage.Range, same bool, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
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
	return there, same, lines.Err()
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

// remove ends with the ledger: all is there.
func (l *ledger) remove() error { return errors.Join(l.close(), os.Remove(l.path)) }
