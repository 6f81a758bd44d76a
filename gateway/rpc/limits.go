package rpc

import "time"

// Limits bound what callers can cost. A field that is zero takes its default.
type Limits struct {
	// MaxRequest bounds a request's message in bytes. Default 512 KiB.
	MaxRequest int
	// MaxRequests is how many requests are worked on at a time, streams not
	// counted, MaxCallerRequests how many of one caller's; others are refused.
	// Default 256 and 192.
	MaxRequests, MaxCallerRequests int
	// MaxStreams is how many calls of one method that streams go on at a time,
	// MaxCallerStreams how many of one caller's. Default 256 and 32.
	MaxStreams, MaxCallerStreams int
	// Rate is how many requests a second a caller may make in the long run,
	// Burst how many at once. A caller is one of package throttle. Default 500 and 1000.
	Rate, Burst int
	// Timeout is how long a request may take that does not stream, from its
	// first byte on. Default 30 s.
	Timeout time.Duration
	// Stall is how long a caller may take to read what is written at once, at
	// most some 64 KiB beyond what the network holds. Default 30 s.
	Stall time.Duration
	// Beat is how often a stream of events that has none says so. Default 15 s.
	Beat time.Duration
	// MaxPage bounds the bytes of a page of results. Default 3 MiB, as clients
	// of gRPC take messages of 4 MiB.
	MaxPage int
}

func (l Limits) withDefaults() Limits {
	orDefault(&l.MaxRequest, 512<<10)
	orDefault(&l.MaxRequests, 256)
	orDefault(&l.MaxCallerRequests, 192)
	orDefault(&l.MaxStreams, 256)
	orDefault(&l.MaxCallerStreams, 32)
	orDefault(&l.Rate, 500)
	orDefault(&l.Burst, 2*l.Rate)
	orDefault(&l.Timeout, 30*time.Second)
	orDefault(&l.Stall, 30*time.Second)
	orDefault(&l.Beat, 15*time.Second)
	orDefault(&l.MaxPage, 3<<20)
	return l
}

func orDefault[T ~int | ~int64](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}
