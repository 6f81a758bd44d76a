package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/esante-alsace/cigogne/cmd/cigogne/tracing"
)

// spanSeen is a span that a collector was sent, and by which node.
type spanSeen struct {
	*otlp.Span
	node string
}

// receiver is a collector of OTLP, over HTTP and over gRPC.
type receiver struct {
	collector.UnimplementedTraceServiceServer
	t   *testing.T
	url string

	mu   sync.Mutex
	raw  []byte
	seen []spanSeen
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	c := &receiver{t: t}
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	c.url = server.URL
	return c
}

// overGRPC is where the receiver is found by gRPC.
func (c *receiver) overGRPC() string {
	c.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, c)
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	c.t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			c.t.Error(err)
		}
	})
	return "grpc://" + l.Addr().String()
}

// Export implements collector.TraceServiceServer.
func (c *receiver) Export(_ context.Context, sent *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	raw, err := proto.Marshal(sent)
	c.take(raw, sent)
	return &collector.ExportTraceServiceResponse{}, err
}

// ServeHTTP implements http.Handler.
func (c *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		var err error
		if body, err = gzip.NewReader(body); err != nil {
			c.t.Error(err)
			return
		}
	}
	raw, err := io.ReadAll(body)
	if err != nil { // a node that was killed
		return
	}
	var sent collector.ExportTraceServiceRequest
	if err := proto.Unmarshal(raw, &sent); err != nil || r.URL.Path != "/v1/traces" {
		c.t.Errorf("%s: %v", r.URL.Path, err)
	}
	c.take(raw, &sent)
}

func (c *receiver) take(raw []byte, sent *collector.ExportTraceServiceRequest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.raw = append(c.raw, raw...)
	for _, of := range sent.ResourceSpans {
		node := ""
		for _, a := range of.Resource.Attributes {
			if a.Key == "service.instance.id" {
				node = a.Value.GetStringValue()
			}
		}
		for _, in := range of.ScopeSpans {
			for _, s := range in.Spans {
				c.seen = append(c.seen, spanSeen{s, node})
			}
		}
	}
}

// trace are the spans of one trace by their names, each once.
func (c *receiver) trace(id string) map[string]spanSeen {
	c.mu.Lock()
	defer c.mu.Unlock()
	of := map[string]spanSeen{}
	for _, s := range c.seen {
		if hex.EncodeToString(s.TraceId) == id {
			of[s.Name] = s
		}
	}
	return of
}

// with is the trace in which a span with an attribute is.
func (c *receiver) with(key, value string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.seen {
		for _, a := range s.Attributes {
			if a.Key == key && a.Value.GetStringValue() == value {
				return hex.EncodeToString(s.TraceId)
			}
		}
	}
	return ""
}

// below fails the test unless each span is below the one before it.
func below(t *testing.T, spans map[string]spanSeen, names ...string) {
	t.Helper()
	for i, name := range names[1:] {
		if s, above := spans[name], spans[names[i]]; s.Span == nil || above.Span == nil || !bytes.Equal(s.ParentSpanId, above.SpanId) {
			t.Errorf("%s is not below %s", name, names[i])
		}
	}
}

const (
	farTrace      = "0af7651916cd43dd8448eb211c80319c"
	farSpan       = "b7ad6b7169203331"
	farTraceTwo   = "4bf92f3577b34da6a3ce929d0e0e4736"
	farTraceThree = "5bf92f3577b34da6a3ce929d0e0e4737"
)

// posted stores a file by a request that is part of a trace.
func posted(t *testing.T, node *process, body []byte, trace string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, node.web+"/dicom-web/studies", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/dicom")
	r.Header.Set("Traceparent", "00-"+trace+"-"+farSpan+"-01")
	if status, said := answerTo(t, r, ""); status != http.StatusOK {
		t.Fatalf("%d %s", status, said)
	}
}

// TestOneTraceOfAnInstance: from the association, or from the request of one
// who traces, to the pack in the archive, and nothing of the patient.
func TestOneTraceOfAnInstance(t *testing.T) {
	t.Parallel()
	c := newReceiver(t)
	node := serve(t, t.TempDir(), "--otlp", c.url, "--settle", "50ms", "--log-level", "debug")
	study, other := patient4711(9030), patient4711(9031)
	sender{t, node, "HTP_PACS"}.mustSend(study.Instances[0])
	posted(t, node, fileOf(other.Instances[0]), farTrace)
	r, err := http.Get(node.web + "/dicom-web/studies?PatientName=Weber*&PatientID=4711")
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	var association string
	node.eventually("both are archived, and told of", func() bool {
		association = c.with("calling", "HTP_PACS")
		byAssociation := c.trace(association)
		return byAssociation["archive"].Span != nil && byAssociation["association"].Span != nil &&
			c.trace(farTrace)["archive"].Span != nil && c.with("request", r.Header.Get("X-Request-Id")) != ""
	})
	spans := c.trace(farTrace)
	below(t, spans, "POST /studies", "part", "receive")
	below(t, spans, "part", "journal")
	below(t, spans, "part", "index")
	below(t, spans, "part", "archive")
	if got := hex.EncodeToString(spans["POST /studies"].ParentSpanId); got != farSpan {
		t.Errorf("the request is below %q", got)
	}
	spans = c.trace(association)
	below(t, spans, "association", "C-STORE", "receive")
	below(t, spans, "C-STORE", "journal")
	below(t, spans, "C-STORE", "index")
	below(t, spans, "C-STORE", "archive")
	if links := spans["archive"].Links; len(links) != 1 {
		t.Errorf("archiving is linked with %v", links)
	} else if put := c.trace(hex.EncodeToString(links[0].TraceId)); put["put"].Span == nil || len(put["put"].Links) != 1 {
		t.Errorf("the pack's trace is %v", put)
	} else {
		below(t, put, "put", "archive put")
	}
	for _, id := range []string{association, farTrace} {
		if !strings.Contains(node.log.String(), "trace="+id) {
			t.Errorf("no line of the log is in trace %s", id)
		}
	}
	in := study.Instances[0]
	for _, secret := range []string{"4711", "Weber", in.SOPInstanceUID, other.Instances[0].SOPInstanceUID, study.StudyInstanceUID, other.StudyInstanceUID} {
		if secret == "" || bytes.Contains(c.raw, []byte(secret)) {
			t.Errorf("the collector is told %q", secret)
		}
	}
}

// TestTracesOverGRPC: the same collector is told the same over gRPC.
func TestTracesOverGRPC(t *testing.T) {
	t.Parallel()
	c := newReceiver(t)
	node := serve(t, t.TempDir(), "--otlp", c.overGRPC(), "--log-level", "error")
	posted(t, node, fileOf(patient4711(9033).Instances[0]), farTraceTwo)
	node.eventually("told of", func() bool {
		return c.trace(farTraceTwo)["index"].Span != nil && c.trace(farTraceTwo)["POST /studies"].Span != nil
	})
	below(t, c.trace(farTraceTwo), "POST /studies", "part", "receive")
}

// TestOneTraceOverNodes: what one node asks of another is in the trace of who
// asked it; the copies are a step of their own.
func TestOneTraceOverNodes(t *testing.T) {
	t.Parallel()
	c := newReceiver(t)
	r := newRegion(t)
	ids := []string{"n1", "n2", "n3"}
	for _, id := range ids {
		r.start(id, "--otlp", c.url, "--settle", "1h")
	}
	r.voting()
	file, err := os.ReadFile(synthesized(t, 1)[0])
	if err != nil {
		t.Fatal(err)
	}
	posted(t, r.nodes["n1"], file, farTrace)
	r.nodes["n1"].eventually("it is stored, and told of", func() bool { return c.trace(farTrace)["index"].Span != nil })
	below(t, c.trace(farTrace), "POST /studies", "part", "copies")

	// One of the two has no copy of it, and asks one that has.
	found, err := search(t.Context(), r.nodes["n1"].web, "studies", nil)
	if err != nil || len(found) != 1 {
		t.Fatalf("%v, %v", found, err)
	}
	asking := map[string]string{"n2": farTraceTwo, "n3": farTraceThree}
	for id, trace := range asking {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.nodes[id].web+"/dicom-web/studies/"+uidOf(found[0]), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Traceparent", "00-"+trace+"-"+farSpan+"-01")
		if status, _ := answerTo(t, req, ""); status != http.StatusOK {
			t.Fatalf("%s: %d", id, status)
		}
	}
	r.nodes["n2"].eventually("two nodes tell of one request", func() bool {
		for id, trace := range asking {
			spans := c.trace(trace)
			if there := spans["asked by a node"].node; there != "" && spans["GET /studies/{study}"].node == id {
				below(t, spans, "GET /studies/{study}", "locate")
				below(t, spans, "GET /studies/{study}", "read index")
				return there != id
			}
		}
		return false
	})
}

// TestCollectorAway: that traces cannot be sent keeps nobody from anything, not
// from stopping either.
func TestCollectorAway(t *testing.T) {
	t.Parallel()
	for _, away := range []string{"http://127.0.0.1:1", "grpc://127.0.0.1:1"} {
		node := serve(t, t.TempDir(), "--otlp", away, "--log-level", "error")
		posted(t, node, fileOf(patient4711(9032).Instances[0]), farTrace)
		began := time.Now()
		node.stop()
		if took := time.Since(began); took > 8*tracing.CloseTime { // who is not bounded tries for a minute
			t.Errorf("%s: stopped after %v", away, took)
		}
	}
	if _, err := tryServe(t, t.TempDir(), "--otlp", "collector:4318"); err == nil {
		t.Error("--otlp collector:4318 is taken")
	}
}
