package publication

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage"
)

// HeaderKOS names the manifest by which something is retrieved.
const HeaderKOS = "KOS-SOPInstanceUID"

// olderMost bounds the versions that are looked through for one that stands no
// more.
const olderMost = 100_000

// Current returns nil when the manifest is that of the study as it is complete
// now, and the study its patient's, who does not oppose. One that never was the
// study's is storage.ErrNotFound; one that was replaced, was or is to be
// withdrawn, and that of a study that was deleted, is storage.ErrGone.
func (p *Publisher) Current(ctx context.Context, study, sop string) error {
	life, err := p.o.Index.Publication(ctx, study)
	if err != nil {
		return err
	}
	if life == nil {
		return fmt.Errorf("%w: no manifest %s of study %s", storage.ErrNotFound, sop, study)
	}
	if m := life.Manifest; m != nil && m.SOPInstanceUID == sop {
		if life.Number != m.Number || life.Publication.Withdrawn == sop {
			return fmt.Errorf("%w: the manifest is of a patient whose the study is no more, or who opposes", storage.ErrGone)
		}
		of, err := p.ofStudy(ctx, study)
		if err == nil && of == nil {
			err = fmt.Errorf("%w: study %s was deleted", storage.ErrGone, study)
		}
		return err
	}
	for v := life.Version; v > 0 && v > life.Version-olderMost; v-- {
		if manifestUID(study, v) == sop {
			return fmt.Errorf("%w: the manifest stands no more", storage.ErrGone)
		}
	}
	return fmt.Errorf("%w: no manifest %s of study %s", storage.ErrNotFound, sop, study)
}

// ByManifest lets a retrieval pass to next when who asks shows the current
// manifest of the study (HeaderKOS) and says what they accept: 400 otherwise;
// 404 for a manifest that is not the study's, 410 for one that stands no more.
// known tells of a bearer token whether it is somebody's; 401 when it is not,
// or there is none. With known nil nobody has to show one.
func (p *Publisher) ByManifest(known func(token string) bool, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, text := p.refusal(r, known)
		if status == 0 {
			shown := context.WithValue(r.Context(), shownKey{}, strings.TrimSpace(r.Header.Get(HeaderKOS)))
			next.ServeHTTP(w, r.WithContext(shown))
			return
		}
		if status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", "Bearer")
		}
		w.Header().Set("Cache-Control", "no-store")
		http.Error(w, text, status)
	})
}

// refusal is the status of a request that may not pass, and why; 0 for one
// that may.
func (p *Publisher) refusal(r *http.Request, known func(string) bool) (int, string) {
	if token := bearer(r.Header); known != nil && (token == "" || !known(token)) {
		return http.StatusUnauthorized, "a bearer token that is known here must be shown"
	}
	study, ok := retrieved(r.URL.Path)
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		return http.StatusMethodNotAllowed, "what a manifest lists can be retrieved, and nothing else"
	case !ok:
		return http.StatusNotFound, "no such resource"
	case strings.Trim(strings.Join(r.Header.Values("Accept"), ""), ", ") == "":
		return http.StatusBadRequest, "no Accept: say which media types and transfer syntaxes you take"
	}
	sops := r.Header.Values(HeaderKOS)
	if len(sops) != 1 || !storage.ValidUID(strings.TrimSpace(sops[0])) {
		return http.StatusBadRequest, "no " + HeaderKOS + ": the SOPInstanceUID of the manifest"
	}
	switch err := p.Current(r.Context(), study, strings.TrimSpace(sops[0])); {
	case err == nil:
		return 0, ""
	case errors.Is(err, storage.ErrNotFound):
		return http.StatusNotFound, "the manifest is not known here as the study's"
	case errors.Is(err, storage.ErrGone):
		return http.StatusGone, "the manifest stands no more: the study has changed, or was deleted"
	default:
		p.o.Logger.Error("retrieval by manifest", "error", err)
		return http.StatusServiceUnavailable, "cannot be told now"
	}
}

// bearer is the token of the one Authorization header (RFC 6750 §2.1), or "".
func bearer(h http.Header) string {
	shown := h.Values("Authorization")
	if len(shown) != 1 {
		return ""
	}
	scheme, token, _ := strings.Cut(shown[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// retrieved is the study of a path that retrieves instances or frames:
// /studies/{s}[/series/{e}[/instances/{i}[/frames/{n}]]].
func retrieved(path string) (study string, ok bool) {
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	names := []string{"studies", "series", "instances", "frames"}
	if len(parts)%2 != 0 || len(parts) > 2*len(names) {
		return "", false
	}
	for i := 0; i < len(parts); i += 2 {
		if parts[i] != names[i/2] || i/2 < 3 && !storage.ValidUID(parts[i+1]) {
			return "", false
		}
	}
	return parts[1], true
}

// shownKey is of the manifest's SOPInstanceUID that who asks has shown.
type shownKey struct{}

// Listed is a Retriever, for requests that ByManifest has let through, of what
// the manifest lists that was shown, without what came after it: whose that is,
// nobody has looked yet. Of the study's manifests it gives the one that was
// shown, by its name: another may name somebody else, whose the study was taken
// for.
func (p *Publisher) Listed(from Retriever) Retriever { return listed{from, p} }

type listed struct {
	Retriever
	publisher *Publisher
}

// Instances implements Retriever.
func (l listed) Instances(ctx context.Context, sel gateway.Selector) ([]gateway.Instance, error) {
	all, err := l.Retriever.Instances(ctx, sel)
	if err != nil {
		return all, err
	}
	// Asked after the instances: what has come by then has opened the study.
	only, err := l.publisher.listedOnly(ctx, sel.StudyInstanceUID)
	if err != nil {
		return nil, err
	}
	shown, _ := ctx.Value(shownKey{}).(string)
	kept := make([]gateway.Instance, 0, len(all))
	for _, in := range all {
		about := in.About()
		ours := about.Origin.Transport == storage.TransportManifest
		if ours && sel.SOPInstanceUID == shown || !ours && (only == nil || only[about.Key.SOPInstanceUID]) {
			kept = append(kept, in)
		}
	}
	if len(kept) == 0 {
		return nil, fmt.Errorf("%w: %s", storage.ErrNotFound, sel)
	}
	return kept, nil
}

// listedOnly are the instances that the manifest lists that was shown, when the
// study may have others; else nil.
func (p *Publisher) listedOnly(ctx context.Context, study string) (map[string]bool, error) {
	life, err := p.o.Index.StudyLife(ctx, study)
	shown, _ := ctx.Value(shownKey{}).(string)
	if err != nil || life != nil && !life.Open && life.Manifest != nil && life.Manifest.SOPInstanceUID == shown {
		return nil, err
	}
	list, err := p.read(ctx, study, shown)
	if err != nil {
		return nil, err
	}
	only := map[string]bool{}
	for _, s := range list.Series {
		for _, sop := range s.SOPs {
			only[sop] = true
		}
	}
	return only, nil
}
