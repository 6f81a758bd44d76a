package puller

import (
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/esante-alsace/cigogne/cmd/cigogne/progress"
	"github.com/esante-alsace/cigogne/storage"
)

// writer puts a stretch of the ZIP file where it belongs, and verifies what it
// completes.
type writer struct {
	*pull
	at    int64 // offset of the next byte
	noted int64 // up to here the ledger knows
	buf   []byte

	i    int // the instance that file and sums are of
	file file
	sums *sums // nil when its beginning came another way
}

func (p *pull) newWriter(at int64) *writer {
	return &writer{pull: p, at: at, noted: at, buf: make([]byte, copyBytes), i: -1}
}

// copy takes src up to an offset.
func (w *writer) copy(src io.Reader, end int64) error {
	for w.at < end {
		n, err := src.Read(w.buf[:min(int64(len(w.buf)), end-w.at)])
		if werr := w.write(w.buf[:n]); werr != nil {
			return werr
		}
		if errors.Is(err, io.EOF) && w.at < end {
			err = io.ErrUnexpectedEOF
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("%w: %w", storage.ErrUnavailable, err)
		}
	}
	return nil
}

func (w *writer) write(b []byte) error {
	for len(b) > 0 {
		n := len(b)
		i := w.plan.at(w.at)
		inside := false
		if i < len(w.plan.Instances) {
			in := w.plan.file(i)
			inside = w.at >= in.Offset
			to := in.End()
			if !inside {
				to = in.Offset
			}
			n = int(min(int64(n), to-w.at))
		}
		var err error
		if inside {
			err = w.instance(i, b[:n])
		} else if err = w.place.gap(b[:n], w.at); err == nil {
			w.at += int64(n)
		}
		if err != nil {
			return err
		}
		b = b[n:]
		if w.at-w.noted >= notedRange {
			if err := w.note(); err != nil {
				return err
			}
		}
	}
	return nil
}

// instance takes bytes of instance i.
func (w *writer) instance(i int, b []byte) error {
	in := w.plan.file(i)
	if w.i != i {
		w.leave()
		f, err := w.place.open(i)
		if err != nil {
			return err
		}
		w.i, w.file = i, f
		if w.at == in.Offset {
			w.sums = newSums(w.plan.Instances[i])
		}
	}
	if _, err := w.file.WriteAt(b, w.at-in.Offset); err != nil {
		return err
	}
	if w.sums != nil {
		w.sums.Write(b) //nolint:errcheck // sums have none
	}
	w.at += int64(len(b))
	w.Work.Add(0, int64(len(b)))
	w.mu.Lock()
	w.left[i] -= int64(len(b))
	all := w.left[i] == 0
	w.mu.Unlock()
	if all {
		return w.verified(i, w.at == in.End())
	}
	return nil
}

// verified ends with an instance of which all bytes are there.
func (w *writer) verified(i int, toEnd bool) error {
	in := w.plan.Instances[i]
	whole := w.sums != nil && toEnd && w.sums.are(in)
	if w.sums == nil || !toEnd {
		var err error
		if whole, err = verify(w.file, in, make([]byte, copyBytes)); err != nil {
			return err
		}
	}
	if !whole {
		return w.damaged(i)
	}
	w.Work.Add(1, 0)
	return w.place.complete(i, func() {
		w.fetched.add(memberOf(in))
		w.Work.Tell(progress.Event{Name: "pulled", Fields: []slog.Attr{
			slog.String("instance", in.SOPInstanceUID), slog.String("blake3", in.Digest.String()),
		}})
	})
}

// damaged has an instance fetched again.
func (w *writer) damaged(i int) error {
	in := w.plan.Instances[i]
	w.mu.Lock()
	w.bad[i]++
	w.left[i] = in.Size
	times := w.bad[i]
	w.mu.Unlock()
	w.Work.Add(0, -in.Size)
	w.Work.Tell(progress.Event{
		Name: "damaged", Text: "instance " + in.SOPInstanceUID + " came damaged",
		Fields: []slog.Attr{slog.String("instance", in.SOPInstanceUID)},
	})
	if times >= mostBad {
		w.leaveOut(i, fmt.Sprintf("it came damaged %d times", times))
		return nil
	}
	w.spans.again(w.plan.file(i))
	return nil
}

// note tells the ledger what was written.
func (w *writer) note() error {
	if w.at == w.noted {
		return nil
	}
	r := storage.Range{Offset: w.noted, Length: w.at - w.noted}
	w.noted = w.at
	return w.place.written(r)
}

// leave closes the file of the instance that was written last.
func (w *writer) leave() {
	if w.file != nil {
		w.file.Close()
	}
	w.i, w.file, w.sums = -1, nil, nil
}

// close ends the stretch.
func (w *writer) close() error {
	w.leave()
	return w.note()
}
