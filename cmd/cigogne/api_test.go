package main

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// dial connects a client of gRPC.
func dial(t *testing.T, p *process) *grpc.ClientConn {
	t.Helper()
	c, err := grpc.NewClient(strings.TrimPrefix(p.web, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// rest asks for a resource and reads the answer into to.
func rest(t *testing.T, p *process, path string, to proto.Message) {
	t.Helper()
	b := page(t, p, path)
	if err := protojson.Unmarshal(b, to); err != nil {
		t.Fatalf("GET %s: %v: %s", path, err, b)
	}
}

// page reads a resource whole.
func page(t *testing.T, p *process, path string) []byte {
	t.Helper()
	body, err := get(t.Context(), p.web+path, "*/*")
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	b, err := io.ReadAll(body)
	if err != nil {
		t.Fatalf("GET %s: %v", path, err)
	}
	return b
}

// TestAPIDescribesItself: gRPC health and reflection answer, and REST has its
// description and a page to read.
func TestAPIDescribesItself(t *testing.T) {
	t.Parallel()
	node := serve(t, t.TempDir())
	conn := dial(t, node)
	h, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{Service: "cigogne.v1.Studies"})
	if err != nil || h.Status != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("health: %v %v", h, err)
	}
	stream, err := reflectionpb.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ask := &reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: "cigogne.v1.Studies"}}
	if err := stream.Send(ask); err != nil {
		t.Fatal(err)
	}
	answer, err := stream.Recv()
	if err != nil || len(answer.GetFileDescriptorResponse().GetFileDescriptorProto()) == 0 {
		t.Errorf("reflection: %v %v", answer, err)
	}
	var api struct{ Paths map[string]any }
	if err := json.Unmarshal(page(t, node, "/openapi.json"), &api); err != nil || api.Paths["/v1/studies"] == nil {
		t.Errorf("openapi.json: %v, %d paths", err, len(api.Paths))
	}
	if text := page(t, node, "/api"); !bytes.Contains(text, []byte("/v1/studies/{studyInstanceUid}")) {
		t.Errorf("/api: %.200s", text)
	}
}
