package copies

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"strconv"

	"github.com/esante-alsace/cigogne/consensus/peer"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/journal"
)

// Path is where Reader.Handler is on the peer port. The number is the version
// of what is said there.
const Path = "/journals/v2/"

const (
	// sizeHeader is the size of an entry's payload, sumTrailer the CRC-32C of
	// what was sent.
	sizeHeader = "Cigogne-Size"
	sumTrailer = "Cigogne-Crc32c"
)

// Handler answers other nodes that read what lies in this node's journal and
// in the copies that it holds.
func (r *Reader) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+Path+"{journal}/{segment}/{at}/header", r.answer(r.sendHeader))
	mux.HandleFunc("GET "+Path+"{journal}/{segment}/{at}/{offset}/{length}", r.answer(r.sendRange))
	return mux
}

// answer tells what is wrong.
func (r *Reader) answer(send func(http.ResponseWriter, *http.Request, Store, journal.Position) error) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		s, at, err := r.asked(req)
		if err == nil {
			err = send(w, req, s, at)
		}
		if err != nil {
			http.Error(w, err.Error(), code(err))
		}
	}
}

// asked finds the journal and the place that are asked for.
func (r *Reader) asked(req *http.Request) (Store, journal.Position, error) {
	if id, ok := peer.From(req.Context()); !ok || id.Role != peer.RoleNode {
		return nil, journal.Position{}, fmt.Errorf("%w: nodes read journals", storage.ErrForbidden)
	}
	segment, err1 := strconv.ParseUint(req.PathValue("segment"), 10, 64)
	at, err2 := strconv.ParseInt(req.PathValue("at"), 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return nil, journal.Position{}, fmt.Errorf("%w: %w", storage.ErrInvalid, err)
	}
	s := r.here(index.JournalID(req.PathValue("journal")))
	if s == nil {
		return nil, journal.Position{}, fmt.Errorf("%w: no copy of journal %s here", storage.ErrNotFound, req.PathValue("journal"))
	}
	return s, journal.Position{Segment: segment, Offset: at}, nil
}

func code(err error) int {
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, storage.ErrInvalid):
		return http.StatusBadRequest
	case errors.Is(err, storage.ErrForbidden):
		return http.StatusForbidden
	}
	return http.StatusServiceUnavailable
}

func (r *Reader) sendHeader(w http.ResponseWriter, req *http.Request, s Store, at journal.Position) error {
	e, err := s.Header(req.Context(), at)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.Itoa(len(e.Header)))
	w.Header().Set(sizeHeader, strconv.FormatInt(e.Size, 10))
	_, _ = w.Write(e.Header) // who asked may have gone
	return nil
}

func (r *Reader) sendRange(w http.ResponseWriter, req *http.Request, s Store, at journal.Position) error {
	offset, err1 := strconv.ParseInt(req.PathValue("offset"), 10, 64)
	length, err2 := strconv.ParseInt(req.PathValue("length"), 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("%w: %w", storage.ErrInvalid, err)
	}
	body, err := s.Read(req.Context(), at, storage.Range{Offset: offset, Length: length})
	if err != nil {
		return err
	}
	defer body.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Trailer", sumTrailer)
	sum := crc32.New(castagnoli())
	if _, err := io.CopyBuffer(struct{ io.Writer }{w}, io.TeeReader(body, sum), make([]byte, 128<<10)); err != nil {
		panic(http.ErrAbortHandler) // the answer has begun: it must not look whole
	}
	w.Header().Set(sumTrailer, fmt.Sprintf("%08x", sum.Sum32()))
	return nil
}
