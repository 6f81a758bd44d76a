package publication

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/esante-alsace/cigogne/gateway/access"
	"github.com/esante-alsace/cigogne/gateway/answer"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

// Published is a study's place in the shared record as an answer tells it.
type Published struct {
	StudyInstanceUID string `json:"studyInstanceUID"`
	// State is "settled", "waiting", "sending", "failing" or "refused".
	State string `json:"state"`
	// Next is what is to be done: "publish", "replace", "withdraw" or "".
	Next string `json:"next"`
	// Manifest is what stands, Published what the shared record has, Uncertain
	// what it may have.
	Manifest  *index.Manifest `json:"manifest"`
	Published *index.Manifest `json:"published"`
	Uncertain *index.Manifest `json:"uncertain,omitempty"`
	// Sending is where, and since when.
	Sending *Sending `json:"sending,omitempty"`
	// Attempts failed, the last because of Trouble; Due is the next.
	Attempts     int64      `json:"attempts"`
	Trouble      string     `json:"trouble,omitempty"`
	TroubleSince *time.Time `json:"troubleSince,omitempty"`
	Due          *time.Time `json:"due,omitempty"`
}

// Sending is a delivery that is under way.
type Sending struct {
	Act  string    `json:"act"`
	Node string    `json:"node"`
	At   time.Time `json:"at"`
}

func publishedOf(o *index.Outgoing) Published {
	p := &o.Publication
	out := Published{
		StudyInstanceUID: o.StudyInstanceUID, State: "settled", Next: o.Next.Act.String(), Manifest: o.Manifest,
		Published: p.Published, Uncertain: p.Uncertain, Attempts: p.Attempts, Trouble: p.Trouble, TroubleSince: timeOf(p.Since), Due: timeOf(o.Due),
	}
	switch {
	case p.Underway != nil:
		out.State = "sending"
		out.Sending = &Sending{Act: p.Underway.Act.String(), Node: p.Underway.Node, At: time.Unix(0, p.Underway.At).UTC()}
	case o.Due == index.RefusedDue:
		out.State = "refused"
	case p.Trouble != "" && o.Due >= 0:
		out.State = "failing"
	case o.Due >= 0 && o.Next.Act != index.NoAct:
		out.State = "waiting"
	}
	return out
}

func timeOf(unixNano int64) *time.Time {
	if unixNano <= 0 {
		return nil
	}
	t := time.Unix(0, unixNano).UTC()
	return &t
}

// Publication tells of one study; storage.ErrNotFound for one never heard of.
func (p *Publisher) Publication(ctx context.Context, study string) (Published, error) {
	if !storage.ValidUID(study) {
		return Published{}, fmt.Errorf("%w: no StudyInstanceUID", storage.ErrInvalid)
	}
	o, err := p.o.Index.Publication(ctx, study)
	if err == nil && o == nil {
		err = fmt.Errorf("%w: study %s", storage.ErrNotFound, study)
	}
	if err != nil {
		return Published{}, err
	}
	return publishedOf(o), nil
}

// Publications lists at most limit studies for which something is to be done,
// or was refused, behind a StudyInstanceUID.
func (p *Publisher) Publications(ctx context.Context, after string, limit int) ([]Published, error) {
	all, err := p.o.Index.Publications(ctx, after, limit)
	out := make([]Published, 0, len(all))
	for i := range all {
		out = append(out, publishedOf(&all[i]))
	}
	return out, err
}

// Retry has a study's place in the shared record seen to now, also when it was
// refused.
func (p *Publisher) Retry(ctx context.Context, study, by string) (Published, error) {
	if _, err := p.Publication(ctx, study); err != nil {
		return Published{}, err
	}
	d := index.Delivery{StudyInstanceUID: study, Step: index.AskDelivery}
	if err := p.o.Proposer.Propose(ctx, index.Batch{Outbox: []index.Delivery{d}}); err != nil {
		return Published{}, err
	}
	p.o.Logger.LogAttrs(ctx, slog.LevelInfo, "publication is tried again", slog.String("study", study), slog.String("by", by))
	return p.Publication(ctx, study)
}

const publicationsMost = 1000

// Handler answers what becomes of publications. It is mounted with
// http.StripPrefix. What changes something is PUT, which no page of another
// origin can send.
func (p *Publisher) Handler(a answer.Writer) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		limit := publicationsMost
		if text := r.URL.Query().Get("limit"); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil || n < 1 || n > publicationsMost {
				a.Write(w, r, nil, fmt.Errorf("%w: limit: 1 to %d", storage.ErrInvalid, publicationsMost))
				return
			}
			limit = n
		}
		all, err := p.Publications(r.Context(), r.URL.Query().Get("after"), limit)
		a.Write(w, r, all, err)
	})
	mux.HandleFunc("GET /{study}", func(w http.ResponseWriter, r *http.Request) {
		one, err := p.Publication(r.Context(), r.PathValue("study"))
		a.Write(w, r, one, err)
	})
	mux.HandleFunc("PUT /{study}", func(w http.ResponseWriter, r *http.Request) {
		one, err := p.Retry(r.Context(), r.PathValue("study"), access.Who(r))
		a.Write(w, r, one, err)
	})
	return mux
}
