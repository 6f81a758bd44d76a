// Package progress tells how far long work has come: a bar on a terminal, a
// line now and then where there is none, and one JSON object per line for
// programs. What is done, its rate and what remains are counted here once for
// all commands.
package progress

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode"
)

// Options say who is told, and how.
type Options struct {
	// Out is read by a person. It gets a bar when Width is set, else lines.
	Out io.Writer
	// Width returns the columns of the terminal that Out is; nil when it is
	// none.
	Width func() int
	// JSON, when set, is read by a program: everything goes there, and
	// nothing to Out.
	JSON io.Writer
	// Every is how often progress is told; default: 10 times a second on a
	// terminal, every second as JSON, every 10 seconds as lines.
	Every time.Duration
}

// Amount is how much there is to do, or was done. Work that has no bytes
// leaves them 0.
type Amount struct{ Items, Bytes int64 }

func (a Amount) plus(b Amount) Amount  { return Amount{a.Items + b.Items, a.Bytes + b.Bytes} }
func (a Amount) minus(b Amount) Amount { return Amount{a.Items - b.Items, a.Bytes - b.Bytes} }

// Event is something that happened, beside that the work goes on.
type Event struct {
	// Name tells a program what it is, in lower case, such as "refused".
	Name string
	// Text is the line for a person, without a line end; when it is empty
	// only programs are told.
	Text string
	// Fields are for programs. "event" and "time" are taken.
	Fields []slog.Attr
}

// Work is long work under way. Its methods may be called by several
// goroutines.
type Work struct {
	o       Options
	events  *slog.Logger // when JSON is set
	stop    chan struct{}
	stopped chan struct{}

	mu    sync.Mutex
	step  step
	drawn bool // a bar stands on the terminal's last line
}

// Start begins. End must be called.
func Start(o Options) *Work {
	if o.Every <= 0 {
		switch {
		case o.JSON != nil:
			o.Every = time.Second
		case o.Width != nil:
			o.Every = time.Second / 10
		default:
			o.Every = 10 * time.Second
		}
	}
	w := &Work{o: o, stop: make(chan struct{}), stopped: make(chan struct{})}
	if o.JSON != nil {
		w.events = slog.New(slog.NewJSONHandler(o.JSON, &slog.HandlerOptions{ReplaceAttr: eventAttr}))
	}
	go w.tick()
	return w
}

// eventAttr makes a log record an event.
func eventAttr(groups []string, a slog.Attr) slog.Attr {
	switch {
	case len(groups) > 0:
	case a.Key == slog.LevelKey:
		return slog.Attr{}
	case a.Key == slog.MessageKey:
		a.Key = "event"
	}
	return a
}

func (w *Work) tick() {
	defer close(w.stopped)
	ticker := time.NewTicker(w.o.Every)
	defer ticker.Stop()
	for {
		select {
		case <-w.stop:
			return
		case <-ticker.C:
			w.mu.Lock()
			w.step.sample()
			w.show()
			w.mu.Unlock()
		}
	}
}

// Step begins the next step of the work, such as "send", and ends the one
// before. The total is zero as long as nobody knows it.
func (w *Work) Step(name string, total Amount) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.endStep()
	now := time.Now()
	w.step = step{name: name, total: total, began: now}
	w.step.sample()
	if w.events == nil {
		w.show()
		return
	}
	w.event("step", w.step.fields()...)
}

// Total says how much the current step is, once it is known or grows.
func (w *Work) Total(total Amount) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.step.total = total
}

// Add counts what was done. What has to be done again is taken back with
// negative numbers.
func (w *Work) Add(items, bytes int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.step.done = w.step.done.plus(Amount{items, bytes})
}

// Skip counts what needed not be done: it is done, and says nothing about the
// rate.
func (w *Work) Skip(items, bytes int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.step.skipped = w.step.skipped.plus(Amount{items, bytes})
}

// Reader counts the bytes that are read from r.
func (w *Work) Reader(r io.Reader) io.Reader { return reader{r, w} }

type reader struct {
	io.Reader
	w *Work
}

func (r reader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.w.Add(0, int64(n))
	return n, err
}

// Tell tells of an event at once.
func (w *Work) Tell(e Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.events != nil {
		w.event(e.Name, e.Fields...)
		return
	}
	if e.Text != "" {
		w.line(e.Text)
		if w.o.Width != nil {
			w.show()
		}
	}
}

// End ends the work. Nothing is told after it.
func (w *Work) End() {
	close(w.stop)
	<-w.stopped
	w.mu.Lock()
	defer w.mu.Unlock()
	w.endStep()
	w.step = step{}
}

// endStep tells what the current step has come to.
func (w *Work) endStep() {
	switch {
	case w.step.name == "":
	case w.events != nil:
		w.event("done", w.step.endFields()...)
	case w.step.count() == Amount{}:
		w.clear()
	default:
		w.line(w.step.summary())
	}
}

// show tells how far the current step is.
func (w *Work) show() {
	switch {
	case w.step.name == "":
	case w.events != nil:
		w.event("progress", w.step.fields()...)
	case w.o.Width != nil:
		w.clear()
		fmt.Fprint(w.o.Out, w.step.bar(w.o.Width()))
		w.drawn = true
	case w.step.count() != Amount{}:
		w.line(w.step.text())
	}
}

// clear takes the bar away.
func (w *Work) clear() {
	if w.drawn {
		fmt.Fprint(w.o.Out, "\r\x1b[K")
		w.drawn = false
	}
}

func (w *Work) line(text string) {
	w.clear()
	fmt.Fprintln(w.o.Out, Printable(text))
}

func (w *Work) event(name string, fields ...slog.Attr) {
	all := make([]any, len(fields))
	for i, f := range fields {
		all[i] = f
	}
	w.events.Info(name, all...)
}

// Printable is text without what would move a terminal's cursor or colour it:
// names of files come from anywhere.
func Printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == unicode.ReplacementChar {
			return '?'
		}
		return r
	}, text)
}
