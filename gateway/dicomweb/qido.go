package dicomweb

import (
	"context"
	"fmt"
	"iter"
	"net/http"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

// search is QIDO-RS (PS3.18 §10.6) at one level. No match is 200 and an empty
// array.
func (s *service) search(level index.Level) route {
	return func(w *answer, r *http.Request) error {
		content, err := s.jsonContent(r)
		if err != nil {
			return err
		}
		sel, err := selector(r, false)
		if err != nil {
			return err
		}
		q, err := parseQuestion(r.URL.RawQuery, level, s.Limits)
		if err != nil {
			return err
		}
		q.StudyInstanceUID, q.SeriesInstanceUID = sel.StudyInstanceUID, sel.SeriesInstanceUID
		if err := q.warnIgnored(); err != nil {
			return err
		}
		for _, warning := range q.warnings {
			w.Header().Add("Warning", `299 cigogne "`+warning+`"`)
		}
		out := s.newJSONArray(w, r, content)
		defer out.release()
		if q.bounded {
			out.onOverflow = func() { warnBounded(w, "there may be more") }
		}
		if q.most == 0 {
			return out.close()
		}
		return s.writeResults(r.Context(), out, q, newSplicer(s.root(r), level))
	}
}

// conflicts lists the instances that were kept aside.
func (s *service) conflicts(w *answer, r *http.Request) error {
	content, err := s.jsonContent(r)
	if err != nil {
		return err
	}
	if s.Conflicts == nil {
		return fmt.Errorf("%w: conflicts are not listed here", storage.ErrUnsupported)
	}
	out := s.newJSONArray(w, r, content)
	defer out.release()
	splice := newSplicer(s.root(r)+conflictsPath, index.Image)
	if _, err := writeObjects(out, s.Conflicts.Conflicts(r.Context()), splice, s.Limits.MaxResults); err != nil {
		return err
	}
	return out.close()
}

func (s *service) jsonContent(r *http.Request) (string, error) {
	offers := []offer{{name: jsonType}, {name: "application/json"}}
	i, err := s.negotiate(r, offers, "")
	if err != nil {
		return "", err
	}
	return offers[i].name, nil
}

// writeResults asks for one result more than it writes when the bound is this
// node's, to know whether there are more.
func (s *service) writeResults(ctx context.Context, out *jsonArray, q question, splice *splicer) error {
	q.Limit = q.most
	if q.bounded {
		q.Limit++
	}
	more, err := writeObjects(out, s.Search.Search(ctx, q.Query), splice, q.most)
	if err != nil {
		return err
	}
	if more && out.held() {
		warnBounded(out.w, "there are more")
	}
	return out.close()
}

// writeObjects writes at most limit objects and tells whether there are more.
func writeObjects(out *jsonArray, objects iter.Seq2[[]byte, error], splice *splicer, limit int) (bool, error) {
	written := 0
	for object, err := range objects {
		if err != nil {
			return false, err
		}
		if written == limit {
			return true, nil
		}
		if err := out.element(splice.withRetrieveURL(object)); err != nil {
			return false, err
		}
		written++
	}
	return false, nil
}

// warnBounded is the warning of PS3.18 §8.3.4.4.
func warnBounded(w http.ResponseWriter, how string) {
	w.Header().Add("Warning", `299 cigogne "The number of results reached the bound of this server and `+how+
		`: additional results can be requested with offset"`)
}
