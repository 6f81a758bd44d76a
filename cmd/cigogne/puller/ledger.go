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

	"github.com/esante-alsace/cigogne/gateway/dicomweb"
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
// range of it, and the instance that is whole in it, if that is known.
type entry struct {
	ETag     string         `json:"etag,omitempty"`
	Size     int64          `json:"size,omitempty"`
	Offset   int64          `json:"offset,omitempty"`
	Length   int64          `json:"length,omitempty"`
	Instance string         `json:"instance,omitempty"`
	Digest   storage.Digest `json:"blake3,omitzero"`
}

// said is what a ledger says.
type said struct {
	same  bool // it is of the plan's ZIP file, and not of another
	there []storage.Range
	whole map[member]storage.Range
}

// maxLine bounds a line of a ledger.
const maxLine = 4 << 10

// openLedger opens the ledger for a plan and returns what it says. One that is
// none, or of another ZIP file, stays as it is until it is begun anew. Who has
// it open is alone in its place: for others it is storage.ErrUnavailable.
func openLedger(path string, p *plan) (*ledger, said, error) {
	f, err := lockedFile(path)
	if err != nil {
		return nil, said{}, err
	}
	l := &ledger{path: path, file: f}
	says, err := readLedger(f, p)
	if err == nil && says.same {
		_, err = f.WriteString("\n") // a line that a crash left unfinished ends here
	}
	if err != nil {
		f.Close()
		return nil, said{}, err
	}
	return l, says, nil
}

// begin begins it anew, for a plan of which these instances are there.
func (l *ledger) begin(p *plan, whole []dicomweb.DigestOf) error {
	b := append(line(entry{ETag: p.ETag, Size: p.Size}), '\n')
	for _, in := range whole {
		b = append(append(b, line(wholeEntry(in))...), '\n')
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.file.Truncate(0); err != nil {
		return err
	}
	_, err := l.file.Write(b)
	return err
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
func readLedger(f *os.File, p *plan) (said, error) {
	says := said{whole: map[member]storage.Range{}}
	lines := bufio.NewScanner(f)
	lines.Buffer(make([]byte, 0, maxLine), maxLine)
	size, named := int64(0), false
	for lines.Scan() {
		var e entry
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			continue // it was cut
		}
		r := storage.Range{Offset: e.Offset, Length: e.Length}
		switch {
		case !named:
			size, named = e.Size, true
			says.same = e.ETag == p.ETag && e.Size == p.Size
		case !r.Within(size):
		default:
			says.there = append(says.there, r)
			if e.Instance != "" {
				says.whole[member{e.Instance, e.Digest}] = r
			}
		}
	}
	if err := lines.Err(); !errors.Is(err, bufio.ErrTooLong) {
		return says, err
	}
	return says, nil
}

func line(e entry) []byte {
	b, err := json.Marshal(e)
	if err != nil { // cannot be: numbers and strings
		return nil
	}
	return b
}

// note says that a range is there.
func (l *ledger) note(r storage.Range) error {
	return l.write(entry{Offset: r.Offset, Length: r.Length})
}

// noteWhole says that all of an instance is.
func (l *ledger) noteWhole(in dicomweb.DigestOf) error { return l.write(wholeEntry(in)) }

func wholeEntry(in dicomweb.DigestOf) entry {
	return entry{Offset: in.Offset, Length: in.Size, Instance: in.SOPInstanceUID, Digest: in.Digest}
}

func (l *ledger) write(e entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := l.file.Write(append(line(e), '\n'))
	return err
}

func (l *ledger) close() error { return l.file.Close() }

// remove ends with the ledger: all is there. It is locked until it is gone.
func (l *ledger) remove() error { return errors.Join(os.Remove(l.path), l.close()) }
