package archive

import "io"

// Nexter is a reader that can give its next bytes away without copying them.
type Nexter interface {
	// Next returns at least one and at most so many bytes, which are valid
	// until the next call of any method; or an error like that of Read.
	Next(most int64) ([]byte, error)
}

// nextPiece is how much is read at once where there is no Nexter.
const nextPiece = 256 << 10

// Next reads what comes next from r: in place where it is a Nexter, else into
// buf, which is made when it is nil.
func Next(r io.Reader, most int64, buf *[]byte) ([]byte, error) {
	if n, ok := r.(Nexter); ok {
		return n.Next(most)
	}
	if *buf == nil {
		*buf = make([]byte, nextPiece)
	}
	for {
		n, err := r.Read((*buf)[:min(most, nextPiece)])
		if n > 0 {
			return (*buf)[:n], nil // an error comes again
		}
		if err != nil {
			return nil, err
		}
	}
}
