package throttle

import (
	"errors"
	"net/http"
	"time"
)

// Press returns an answer whose reader must keep up: a Write that is not taken
// within stall ends the request, and nothing but that. Between two the time is
// not counted: on HTTP/2 its end would end a stream that has nothing to say.
func Press(w http.ResponseWriter, stall time.Duration) http.ResponseWriter {
	return &pressed{ResponseWriter: w, control: http.NewResponseController(w), stall: stall}
}

type pressed struct {
	http.ResponseWriter
	control *http.ResponseController
	stall   time.Duration
}

// Write implements http.ResponseWriter.
func (p *pressed) Write(b []byte) (int, error) {
	if err := p.press(p.stall); err != nil {
		return 0, err
	}
	n, err := p.ResponseWriter.Write(b)
	return n, errors.Join(err, p.press(0))
}

// Flush implements http.Flusher.
func (p *pressed) Flush() {
	if p.press(p.stall) == nil {
		_ = p.control.Flush() // the next Write tells
		_ = p.press(0)
	}
}

// press sets how long what is written may take; 0 is for ever.
func (p *pressed) press(most time.Duration) error {
	var until time.Time
	if most > 0 {
		until = time.Now().Add(most)
	}
	if err := p.control.SetWriteDeadline(until); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// Unwrap is for http.ResponseController.
func (p *pressed) Unwrap() http.ResponseWriter { return p.ResponseWriter }
