package throttle

import (
	"errors"
	"net/http"
)

// Limits are the bounds of one kind of request.
type Limits struct {
	// Rate is how many a second a caller may make in the long run; at once it is
	// twice that.
	Rate int
	// Most are under way at a time, MostOfCaller of one caller.
	Most, MostOfCaller int
}

// Gate lets HTTP requests of one kind through within Limits.
type Gate struct {
	rates   *Rates
	slots   *Slots
	refused func(error)
}

// NewGate returns a Gate. refused is told of each request that it does not let
// through, with an error that is ErrBusy or ErrTooMany; it may be nil.
func NewGate(l Limits, refused func(error)) *Gate {
	return &Gate{NewRates(l.Rate, 2*l.Rate), NewSlots(l.Most, l.MostOfCaller), refused}
}

// Handler is next behind the gate. What is not let through is answered with 429
// when it is the caller's own bound, 503 otherwise, and with Retry-After.
func (g *Gate) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller := Caller(r.RemoteAddr)
		err := g.rates.Take(caller)
		var done func()
		if err == nil {
			done, err = g.slots.Take(caller)
		}
		if err != nil {
			g.refuse(w, err)
			return
		}
		defer done()
		next.ServeHTTP(w, r)
	})
}

func (g *Gate) refuse(w http.ResponseWriter, err error) {
	if g.refused != nil {
		g.refused(err)
	}
	w.Header().Set("Retry-After", "1")
	http.Error(w, err.Error(), Status(err))
}

// Status is 429 for ErrTooMany, 503 otherwise.
func Status(err error) int {
	if errors.Is(err, ErrTooMany) {
		return http.StatusTooManyRequests
	}
	return http.StatusServiceUnavailable
}

// Used is how many requests are under way, of how many.
func (g *Gate) Used() (now, most int) { return g.slots.Used() }
