package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/descriptorpb"
)

const good = `syntax = "proto3";
package shop.v1;
import "google/api/annotations.proto";
// Shop sells.
service Shop {
  // Buy buys.
  rpc Buy(ShopBuyRequest) returns (ShopBuyResponse) { option (google.api.http) = {get: "/v1/buy"}; }
}
message ShopBuyRequest { string name = 1; Kind kind = 2; }
message ShopBuyResponse { repeated string things = 1; }
// Kind is a kind.
enum Kind { KIND_UNSPECIFIED = 0; KIND_OLD = 1; }
`

func compiled(t *testing.T, text string) (*descriptorpb.FileDescriptorSet, []string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "shop", "v1"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "shop", "v1", "shop.proto"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	files, targets, err := compile(context.Background(), dir, "shop/v1")
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return files, targets
}

// TestLint: each rule finds what breaks it, and nothing where nothing does.
func TestLint(t *testing.T) {
	files, targets := compiled(t, good)
	if problems := lint(files, targets); len(problems) > 0 {
		t.Fatalf("good style is blamed: %v", problems)
	}
	for _, c := range []struct{ from, to, rule string }{
		{"package shop.v1", "package shop", "PACKAGE_VERSION_SUFFIX"},
		{"package shop.v1", "package store.v1", "PACKAGE_DIRECTORY_MATCH"},
		{"Buy(ShopBuyRequest)", "Buy(ShopBuyResponse)", "RPC_REQUEST_RESPONSE_UNIQUE"},
		{"ShopBuyRequest", "BuyRequest", "RPC_REQUEST_STANDARD_NAME"},
		{"rpc Buy", "rpc buy", "RPC_PASCAL_CASE"},
		{"string name", "string Name", "FIELD_LOWER_SNAKE_CASE"},
		{"KIND_OLD", "OLD", "ENUM_VALUE_PREFIX"},
		{"KIND_UNSPECIFIED", "KIND_NONE", "ENUM_ZERO_VALUE_SUFFIX"},
		{"// Shop sells.\n", "", "COMMENT"},
	} {
		files, targets := compiled(t, strings.ReplaceAll(good, c.from, c.to))
		if problems := strings.Join(lint(files, targets), "\n"); !strings.Contains(problems, c.rule) {
			t.Errorf("%q instead of %q: %q, want %s", c.to, c.from, problems, c.rule)
		}
	}
}

// TestBreaking: what fails a client is found; what is added, or goes and is
// reserved, is not.
func TestBreaking(t *testing.T) {
	base, _ := compiled(t, good)
	for _, c := range []struct {
		from, to string
		breaks   bool
	}{
		{"", "", false},
		{"string name = 1;", "string name = 1; string more = 3;", false},
		{"string name = 1;", "reserved 1; reserved \"name\";", false},
		{"string name = 1;", "", true},
		{"string name = 1;", "string name = 4;", true},
		{"string name = 1;", "bytes name = 1;", true},
		{"string name = 1;", "string title = 1;", true},
		{"repeated string things", "string things", true},
		{"KIND_OLD = 1", "KIND_OLD = 2", true},
		{"/v1/buy", "/v1/purchase", true},
		{"returns (ShopBuyResponse)", "returns (stream ShopBuyResponse)", true},
	} {
		now, _ := compiled(t, strings.Replace(good, c.from, c.to, 1))
		if problems := breaking(only(base, []string{"shop/v1/shop.proto"}), only(now, []string{"shop/v1/shop.proto"})); c.breaks != (len(problems) > 0) {
			t.Errorf("%q instead of %q: %v", c.to, c.from, problems)
		}
	}
}
