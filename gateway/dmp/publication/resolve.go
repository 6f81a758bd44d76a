package publication

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"os"
	"time"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/gateway/answer"
	"github.com/esante-alsace/cigogne/gateway/dmp/manifest"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

// Resolved is what can be retrieved here of what a manifest lists, and how.
type Resolved struct {
	StudyInstanceUID string `json:"studyInstanceUID"`
	// Standing of the manifest here: "current", "replaced" or "unknown", as
	// that of another gateway is.
	Standing string `json:"standing"`
	// URL is where the study is retrieved by WADO-RS, and Manifest what the
	// header KOS-SOPInstanceUID must say; empty when that cannot be.
	URL      string           `json:"url,omitempty"`
	Manifest string           `json:"manifest,omitempty"`
	Listed   int              `json:"listed"`
	Held     int              `json:"held"`
	Series   []ResolvedSeries `json:"series"`
}

// ResolvedSeries is a series of a Resolved.
type ResolvedSeries struct {
	SeriesInstanceUID string `json:"seriesInstanceUID"`
	URL               string `json:"url,omitempty"`
	Listed            int    `json:"listed"`
	Held              int    `json:"held"`
	Bytes             int64  `json:"bytes"` // of what is held
	// TransferSyntaxUIDs are those in which it is held.
	TransferSyntaxUIDs []string `json:"transferSyntaxUIDs,omitempty"`
	// Missing are the SOPInstanceUIDs that are not here, and Elsewhere where
	// they can be had by the manifest's word.
	Missing   []string `json:"missing,omitempty"`
	Elsewhere string   `json:"elsewhere,omitempty"`
}

// Resolve tells what of a manifest can be retrieved here. A manifest that says
// that the study is of a person whose it is not is storage.ErrConflict.
func (p *Publisher) Resolve(ctx context.Context, l *manifest.Listing) (*Resolved, error) {
	r := &Resolved{StudyInstanceUID: l.StudyInstanceUID, Standing: "unknown", Series: []ResolvedSeries{}}
	if err := p.samePerson(ctx, l); err != nil {
		return nil, err
	}
	life, err := p.o.Index.StudyLife(ctx, l.StudyInstanceUID)
	if err != nil {
		return nil, err
	}
	if l.SOPInstanceUID != "" {
		switch err := p.Current(ctx, l.StudyInstanceUID, l.SOPInstanceUID); {
		case err == nil:
			r.Standing = "current"
		case errors.Is(err, storage.ErrGone):
			r.Standing = "replaced"
		case !errors.Is(err, storage.ErrNotFound):
			return nil, err
		}
	}
	held, err := p.held(ctx, l.StudyInstanceUID)
	if err != nil {
		return nil, err
	}
	if life != nil && life.Manifest != nil && len(held) > 0 && p.Current(ctx, l.StudyInstanceUID, life.Manifest.SOPInstanceUID) == nil {
		r.Manifest, r.URL = life.Manifest.SOPInstanceUID, p.o.Root()+"/studies/"+l.StudyInstanceUID
	}
	for i := range l.Series {
		s := resolveSeries(&l.Series[i], held)
		if r.URL != "" && s.Held > 0 {
			s.URL = r.URL + "/series/" + s.SeriesInstanceUID
		}
		r.Listed, r.Held = r.Listed+s.Listed, r.Held+s.Held
		r.Series = append(r.Series, s)
	}
	return r, nil
}

// samePerson holds the manifest's patient against who the study's is known to
// be.
func (p *Publisher) samePerson(ctx context.Context, l *manifest.Listing) error {
	of, err := p.ofStudy(ctx, l.StudyInstanceUID)
	if err != nil || of == nil {
		return err
	}
	local := index.PatientOf(of)
	number, err := p.o.Index.NumberOf(ctx, local)
	if err != nil {
		return err
	}
	if l.Matricule != "" && number.PatientID != "" && l.Matricule != number.PatientID && l.Matricule != local.PatientID {
		return fmt.Errorf("%w: the manifest names another patient than the study is of", storage.ErrConflict)
	}
	return nil
}

// held are the study's instances by SOPInstanceUID.
func (p *Publisher) held(ctx context.Context, study string) (map[string]storage.Instance, error) {
	all, err := p.o.Retrieve.Instances(ctx, gateway.Selector{StudyInstanceUID: study})
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	held := make(map[string]storage.Instance, len(all))
	for _, in := range all {
		held[in.About().Key.SOPInstanceUID] = in.About()
	}
	return held, err
}

func resolveSeries(l *manifest.ListedSeries, held map[string]storage.Instance) ResolvedSeries {
	s := ResolvedSeries{SeriesInstanceUID: l.SeriesInstanceUID, Listed: len(l.SOPs)}
	syntaxes := map[string]bool{}
	for _, sop := range l.SOPs {
		in, ok := held[sop]
		if !ok || in.Key.SeriesInstanceUID != l.SeriesInstanceUID {
			s.Missing = append(s.Missing, sop)
			s.Elsewhere = l.RetrieveURL
			continue
		}
		s.Held++
		s.Bytes += in.Size
		if !syntaxes[in.TransferSyntaxUID] {
			syntaxes[in.TransferSyntaxUID] = true
			s.TransferSyntaxUIDs = append(s.TransferSyntaxUIDs, in.TransferSyntaxUID)
		}
	}
	return s
}

const (
	// resolvedAtATime bounds the manifests that are in memory at once, which take
	// memory, uploadTime how long one may take to come, and answerTime the answer
	// to be taken.
	resolvedAtATime = 2
	uploadTime      = 30 * time.Second
	answerTime      = time.Minute
)

// Resolver answers POST with a manifest as its body: application/dicom, or
// application/fhir+json.
func (p *Publisher) Resolver(a answer.Writer) http.Handler {
	slots := make(chan struct{}, resolvedAtATime)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			http.Error(w, "POST a manifest", http.StatusMethodNotAllowed)
			return
		}
		found, err := p.resolveBody(w, r, slots)
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTime))
		a.Write(w, r, found, err)
	})
}

// resolveBody reads a manifest and resolves it. A slot is held neither while
// the manifest comes nor while the answer is taken: who is slow keeps nobody.
func (p *Publisher) resolveBody(w http.ResponseWriter, r *http.Request, slots chan struct{}) (*Resolved, error) {
	read, err := readerOf(r.Header.Get("Content-Type"))
	if err != nil {
		return nil, err
	}
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(uploadTime)) // where that cannot be, the server's own bounds hold
	came, err := p.spool(http.MaxBytesReader(w, r.Body, manifest.ListingBytes))
	_ = control.SetReadDeadline(time.Time{}) // its end would end the answer, too
	if err != nil {
		return nil, err
	}
	defer came.Close()
	select {
	case slots <- struct{}{}:
		defer func() { <-slots }()
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	b, err := io.ReadAll(came)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", storage.ErrUnavailable, err)
	}
	l, err := read(b)
	if err != nil {
		return nil, err
	}
	return p.Resolve(r.Context(), l)
}

// spool is a manifest as a file without a name, when all of it has come.
func (p *Publisher) spool(body io.Reader) (*os.File, error) {
	f, err := os.CreateTemp(p.o.SpoolDir, "manifest-")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", storage.ErrUnavailable, err)
	}
	_, err = io.Copy(f, body)
	var long *http.MaxBytesError
	var disk *fs.PathError
	switch {
	case errors.As(err, &long):
		err = fmt.Errorf("%w: a manifest of more than %d bytes", storage.ErrTooLarge, manifest.ListingBytes)
	case errors.As(err, &disk):
		err = fmt.Errorf("%w: %w", storage.ErrUnavailable, err)
	case err != nil:
		err = fmt.Errorf("%w: the manifest did not come whole", storage.ErrInvalid)
	default:
		_, err = f.Seek(0, io.SeekStart)
	}
	if err = errors.Join(err, os.Remove(f.Name())); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// readerOf is what reads manifests of a media type; of another it is
// storage.ErrUnsupported.
func readerOf(contentType string) (func([]byte) (*manifest.Listing, error), error) {
	name, _, _ := mime.ParseMediaType(contentType) // "" for none
	switch name {
	case "application/dicom":
		return manifest.ReadKOS, nil
	case "application/fhir+json", "application/json":
		return manifest.ReadImagingStudy, nil
	}
	return nil, fmt.Errorf("%w: a manifest is application/dicom or application/fhir+json", storage.ErrUnsupported)
}
