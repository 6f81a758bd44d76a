package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/esante-alsace/cigogne/gateway/dmp/manifest"
)

// sharedRecord is a strict receiver of ITI-65: a FHIR server as far as these
// transactions go. It takes a transaction whole or not at all, validates each,
// and writes down whatever ought not to happen.
type sharedRecord struct {
	t        *testing.T
	server   *httptest.Server
	validate func([]byte) []string // what is wrong by the definitions of FHIR

	mu       sync.Mutex
	allowed  map[string]bool       // matricules of whom it may hear
	docs     map[string]*sharedDoc // by the identifier of their entry
	sending  map[string]int        // transactions under way, by study
	faults   []string              // what ought not to have happened
	requests int                   // how many came
	script   []func(*conversation) // what is to go wrong, one for each request
}

type sharedDoc struct{ sop, study, status, patient string }

// conversation is one transaction that the record is about to answer.
type conversation struct {
	r      *http.Request
	w      http.ResponseWriter
	status int // answered in place of what is right; 0 for that
	drop   bool
}

func newSharedRecord(t *testing.T, allowed ...string) *sharedRecord {
	t.Helper()
	s := &sharedRecord{t: t, validate: validator(t), allowed: map[string]bool{}, docs: map[string]*sharedDoc{}, sending: map[string]int{}}
	for _, a := range allowed {
		s.allowed[a] = true
	}
	s.server = httptest.NewServer(s)
	t.Cleanup(s.server.Close)
	return s
}

// validator starts the validator of FHIR resources, where it is installed.
func validator(t *testing.T) func([]byte) []string {
	t.Helper()
	dir := os.Getenv("FHIR_VALIDATOR_DIR")
	if dir == "" {
		t.Log("FHIR_VALIDATOR_DIR is not set: bundles are not held against the definitions of FHIR")
		return func([]byte) []string { return nil }
	}
	script, err := filepath.Abs(filepath.Join("testdata", "validator.mjs"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "node", script)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); cmd.Wait() })
	lines := bufio.NewReader(out)
	var one sync.Mutex
	ask := func(resource []byte) (wrong []string) {
		one.Lock()
		defer one.Unlock()
		var flat bytes.Buffer
		if err := json.Compact(&flat, resource); err != nil {
			return []string{err.Error()}
		}
		flat.WriteByte('\n')
		if _, err := in.Write(flat.Bytes()); err != nil {
			return []string{err.Error()}
		}
		line, err := lines.ReadBytes('\n')
		if err == nil {
			err = json.Unmarshal(line, &wrong)
		}
		if err != nil {
			return []string{"the validator: " + err.Error()}
		}
		return wrong
	}
	if len(ask([]byte(`{"resourceType":"Patient","sex":"F"}`))) == 0 {
		t.Fatal("the validator finds nothing wrong where something is")
	}
	return ask
}

// fails has one of the next requests go wrong.
func (s *sharedRecord) fails(how ...func(*conversation)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script = append(s.script, how...)
}

// recovers has nothing go wrong any more.
func (s *sharedRecord) recovers() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script = nil
}

func (s *sharedRecord) left() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.script)
}

// transaction is what is read of a Bundle.
type transaction struct {
	ResourceType string
	Type         string
	Entry        []struct {
		FullURL  string `json:"fullUrl"`
		Resource struct {
			ResourceType     string
			Data             []byte
			MasterIdentifier struct{ Value string }
			Identifier       []struct{ Value string }
			Subject          struct {
				Identifier struct{ System, Value string }
			}
			RelatesTo []struct {
				Code   string
				Target struct {
					Identifier struct{ Value string }
				}
			}
			Content []struct {
				Attachment struct {
					Size int
					Hash []byte
				}
			}
			Context struct {
				Related []struct {
					Identifier struct{ System, Value string }
				}
			}
			Parameter []struct {
				Part []struct{ Name, ValueCode, ValueString string }
			}
		}
		Request struct{ Method, URL, IfNoneExist string }
	}
}

// ServeHTTP implements http.Handler.
func (s *sharedRecord) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil { // it was cut: nothing came
		return
	}
	var b transaction
	if err := json.Unmarshal(body, &b); err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/fhir+json" {
		s.fault("no transaction: %v %s", err, r.Method)
	}
	for _, wrong := range s.validate(body) {
		s.fault("not valid: %s", wrong)
	}
	study := s.studyOf(&b)
	c := &conversation{r: r, w: w}
	s.mu.Lock()
	s.requests++
	if s.sending[study]++; s.sending[study] > 1 {
		s.faults = append(s.faults, "two at the same time for study "+study)
	}
	var how func(*conversation)
	if len(s.script) > 0 {
		how, s.script = s.script[0], s.script[1:]
	}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.sending[study]--
	}()
	if how != nil {
		how(c)
	}
	if c.status != 0 {
		w.WriteHeader(c.status)
		return
	}
	status, answer := s.take(&b, study)
	if c.drop { // it is taken, and nobody hears so
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "application/fhir+json")
	w.WriteHeader(status)
	io.WriteString(w, answer)
}

func (s *sharedRecord) fault(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, fmt.Sprintf(format, args...))
}

// studyOf is the study that a transaction is about.
func (s *sharedRecord) studyOf(b *transaction) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range b.Entry {
		if e.Request.Method == http.MethodPatch {
			_, id, _ := strings.Cut(e.Request.URL, "identifier=")
			if d := s.docs[id]; d != nil {
				return d.study
			}
			return id
		}
		for _, r := range e.Resource.Context.Related {
			if r.Identifier.System == "urn:dicom:uid" {
				return strings.TrimPrefix(r.Identifier.Value, "urn:oid:")
			}
		}
	}
	return ""
}

// take enters a transaction, or says why not.
func (s *sharedRecord) take(b *transaction, study string) (int, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	done := fmt.Sprintf(`{"resourceType":"Bundle","type":"transaction-response","entry":[%s]}`,
		strings.TrimSuffix(strings.Repeat(`{"response":{"status":"201 Created"}},`, len(b.Entry)), ","))
	var data []byte
	for _, e := range b.Entry {
		if e.Resource.ResourceType == "Binary" {
			data = e.Resource.Data
		}
	}
	for _, e := range b.Entry {
		switch {
		case e.Request.Method == http.MethodPatch:
			_, id, _ := strings.Cut(e.Request.URL, "identifier=")
			if s.docs[id] == nil {
				return http.StatusNotFound, `{"resourceType":"OperationOutcome"}`
			}
			s.docs[id].status = "entered-in-error"
		case e.Resource.ResourceType == "DocumentReference":
			r := &e.Resource
			patient := r.Subject.Identifier.Value
			if !s.allowed[patient] {
				s.faults = append(s.faults, "heard of a patient who must not be here: "+patient)
			}
			id := r.Identifier[0].Value
			if e.Request.IfNoneExist != "identifier="+id {
				s.faults = append(s.faults, "it would be two if it came twice")
			}
			a := r.Content[0].Attachment
			if sum := sha1.Sum(data); !bytes.Equal(a.Hash, sum[:]) || a.Size != len(data) {
				s.faults = append(s.faults, "the document is not what its entry says")
			}
			l, err := manifest.ReadKOS(data)
			if err != nil || l.Matricule != patient || "urn:oid:"+l.SOPInstanceUID != r.MasterIdentifier.Value || l.StudyInstanceUID != study {
				s.faults = append(s.faults, fmt.Sprintf("the document is another's: %+v, %v", l, err))
			}
			if s.docs[id] != nil {
				continue // it came before
			}
			for _, rel := range r.RelatesTo {
				was := s.current(strings.TrimPrefix(rel.Target.Identifier.Value, "urn:oid:"))
				if was == nil || rel.Code != "replaces" || was.study != study || was.patient != patient {
					s.faults = append(s.faults, "it replaces what is not current")
					return http.StatusBadRequest, "{}"
				}
				was.status = "superseded"
			}
			for _, d := range s.docs {
				if d.study == study && d.status == "current" {
					s.faults = append(s.faults, "two manifests of a study are current")
				}
			}
			s.docs[id] = &sharedDoc{sop: strings.TrimPrefix(r.MasterIdentifier.Value, "urn:oid:"), study: study, status: "current", patient: patient}
		}
	}
	return http.StatusOK, done
}

// current is the document of a manifest that stands; mu is held.
func (s *sharedRecord) current(sop string) *sharedDoc {
	for _, d := range s.docs {
		if d.sop == sop && d.status == "current" {
			return d
		}
	}
	return nil
}

// has is the manifest of a study that is current, or "".
func (s *sharedRecord) has(study string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.docs {
		if d.study == study && d.status == "current" {
			return d.sop
		}
	}
	return ""
}

// blameless fails the test for what ought not to have happened.
func (s *sharedRecord) blameless() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.faults {
		s.t.Error(f)
	}
}
