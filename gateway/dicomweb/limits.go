package dicomweb

import "time"

// Limits bound what one request may cost. A field that is zero takes its
// default.
type Limits struct {
	// ReadStall is how long a sender may take for 16 KiB of a body, and
	// WriteStall a reader for 1 MiB. Default 60 s each.
	ReadStall, WriteStall time.Duration
	// MaxStore bounds the body of a STOW-RS request, MaxInstance each
	// instance in it, in bytes. Default 1 TiB and 64 GiB.
	MaxStore, MaxInstance int64
	// MaxParts bounds the parts of a STOW-RS request, and with them the memory
	// that its answer takes: some 200 bytes each. Default 20000.
	MaxParts int
	// MaxPartHeader bounds the header of a part in bytes, at most 32 KiB;
	// default 8 KiB.
	MaxPartHeader int
	// PendingWindow is how many instances of one request may wait to be
	// durable while the next is read. Default 64.
	PendingWindow int
	// DurableTimeout is how long one of them may wait. Default 60 s.
	DurableTimeout time.Duration
	// MaxResults bounds the results of a query; a client asks for more with
	// offset. Default 10000.
	MaxResults int
	// MaxQuery bounds a query string in bytes, MaxParameters its parameters
	// and the attributes that they list. Default 2 MiB and 256.
	MaxQuery, MaxParameters int
	// MaxFrames bounds the frames that are asked for at once. Default 1024.
	MaxFrames int
	// MaxAccept bounds an Accept header in bytes. Default 16 KiB.
	MaxAccept int
}

func (l Limits) withDefaults() Limits {
	orDefault(&l.ReadStall, time.Minute)
	orDefault(&l.WriteStall, time.Minute)
	orDefault(&l.MaxStore, 1<<40)
	orDefault(&l.MaxInstance, 64<<30)
	orDefault(&l.MaxParts, 20000)
	orDefault(&l.MaxPartHeader, 8<<10)
	orDefault(&l.PendingWindow, 64)
	orDefault(&l.DurableTimeout, time.Minute)
	orDefault(&l.MaxResults, 10000)
	orDefault(&l.MaxQuery, 2<<20)
	orDefault(&l.MaxParameters, 256)
	orDefault(&l.MaxFrames, 1024)
	orDefault(&l.MaxAccept, 16<<10)
	l.MaxPartHeader = min(l.MaxPartHeader, 32<<10)
	return l
}

func orDefault[T ~int | ~int64](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}
