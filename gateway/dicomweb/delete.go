package dicomweb

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/gateway/access"
	"github.com/esante-alsace/cigogne/storage"
)

// Deleter takes studies and series out of sight.
type Deleter interface {
	// Delete fails with a *gateway.ProtectedError when something keeps the
	// study, and with storage.ErrNotFound when there is none.
	Delete(ctx context.Context, q gateway.Request) (gateway.Deleted, error)
}

// deleted is the body of a 202.
type deleted struct {
	ID                string    `json:"id"`
	StudyInstanceUID  string    `json:"studyInstanceUID"`
	SeriesInstanceUID string    `json:"seriesInstanceUID,omitempty"`
	Series            int64     `json:"series"`
	Instances         int64     `json:"instances"`
	UndoUntil         time.Time `json:"undoUntil"`
	Undo              string    `json:"undo,omitempty"` // the resource whose deletion undoes this one
}

// protected is the body of a 409.
type protected struct {
	Error     string       `json:"error"`
	RequestID string       `json:"requestId,omitempty"`
	Holds     []hold       `json:"holds"`
	Retention *retainUntil `json:"retention,omitempty"`
}

type hold struct {
	Name  string    `json:"name"`
	Since time.Time `json:"since"`
}

type retainUntil struct {
	Years int       `json:"years"`
	From  string    `json:"from"` // YYYYMMDD
	Until time.Time `json:"until"`
}

// remove takes a study or a series out of sight: 202 when it is marked now,
// 204 when it was before and is not removed yet.
func (s *service) remove(w *answer, r *http.Request) error {
	q := gateway.Request{
		StudyInstanceUID: r.PathValue("study"), SeriesInstanceUID: r.PathValue("series"),
		By: access.Who(r), Why: r.URL.Query().Get("reason"),
	}
	if !storage.ValidUID(q.StudyInstanceUID) {
		return errNotUID("StudyInstanceUID")
	}
	if q.SeriesInstanceUID != "" && !storage.ValidUID(q.SeriesInstanceUID) {
		return errNotUID("SeriesInstanceUID")
	}
	done, err := s.Delete.Delete(r.Context(), q)
	var kept *gateway.ProtectedError
	if errors.As(err, &kept) {
		return s.object(w, http.StatusConflict, s.protection(r, kept))
	}
	if err != nil {
		return err
	}
	undo := ""
	if s.Deletions != "" {
		undo = s.Deletions + "/" + done.ID
		w.Header().Set("Location", undo)
	}
	if done.Before {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return s.object(w, http.StatusAccepted, deleted{
		ID: done.ID, StudyInstanceUID: done.StudyInstanceUID, SeriesInstanceUID: done.SeriesInstanceUID,
		Series: done.Series, Instances: done.Instances, UndoUntil: time.Unix(0, done.Due).UTC(), Undo: undo,
	})
}

// protection says what keeps a study, and until when.
func (s *service) protection(r *http.Request, e *gateway.ProtectedError) protected {
	p := protected{Error: e.Error(), RequestID: s.RequestID(r), Holds: []hold{}}
	for _, h := range e.Kept.Holds {
		p.Holds = append(p.Holds, hold{h.Name, time.Unix(0, h.Act.At).UTC()})
	}
	if e.Kept.Until > 0 {
		p.Retention = &retainUntil{e.Kept.Years, e.Kept.From, time.Unix(0, e.Kept.Until).UTC()}
	}
	return p
}

// object answers with one JSON object.
func (s *service) object(w *answer, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, err = w.Write(body)
	return err
}
