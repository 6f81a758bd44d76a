// Command generate makes the code of the API out of its .proto files, without
// a network and without protoc: they are compiled here, and the plugins are
// tools of this module, so that what they need does not move what the product
// needs.
//
//	go run .          writes what is generated, then lints
//	go run . -check   writes nothing, and fails when what is committed differs,
//	                  breaks a rule of style, or breaks a client of the baseline
//	go run . -accept  makes what is there now the baseline
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

const (
	// root is the folder of the API, seen from this one; import paths of the
	// .proto files begin there.
	root    = ".."
	sources = "cigogne/v1"
	// baselineFile holds the descriptors that clients were built with.
	baselineFile = "baseline.binpb"
)

// plugin is one generator with its parameter.
type plugin struct{ tool, parameter string }

func plugins() []plugin {
	return []plugin{
		{"protoc-gen-go", "paths=source_relative"},
		{"protoc-gen-go-grpc", "paths=source_relative"},
		{"protoc-gen-grpc-gateway", "paths=source_relative"},
		{"protoc-gen-openapiv2", "allow_merge=true,merge_file_name=openapi,disable_default_errors=false," +
			"openapi_naming_strategy=simple,openapi_configuration=openapi.yaml"},
	}
}

func main() {
	check := flag.Bool("check", false, "compare with what is committed")
	accept := flag.Bool("accept", false, "make what is there the baseline")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, *check, *accept)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, check, accept bool) error {
	files, targets, err := compile(ctx, root, sources)
	if err != nil {
		return err
	}
	if err := report("lint", lint(files, targets)); err != nil {
		return err
	}
	if accept {
		return writeBaseline(files, targets)
	}
	made, err := generate(ctx, files, targets)
	if err != nil {
		return err
	}
	if !check {
		return write(made)
	}
	base, err := readBaseline()
	if err != nil {
		return err
	}
	return errors.Join(
		report("breaking", breaking(base, only(files, targets))),
		report("not generated anew", stale(made)))
}

func report(rule string, problems []string) error {
	if len(problems) == 0 {
		return nil
	}
	return fmt.Errorf("%s:\n  %s", rule, strings.Join(problems, "\n  "))
}

// generate runs the plugins and returns what they make, by path below root.
func generate(ctx context.Context, files *descriptorpb.FileDescriptorSet, targets []string) (map[string]string, error) {
	made := map[string]string{}
	for _, p := range plugins() {
		out, err := runPlugin(ctx, p, &pluginpb.CodeGeneratorRequest{
			FileToGenerate: targets, Parameter: &p.parameter, ProtoFile: files.File,
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.tool, err)
		}
		for _, f := range out.File {
			made[target(f.GetName())] = f.GetContent()
		}
	}
	var err error
	made[description], err = withNative(made[description])
	return made, err
}

// description is where OpenAPI goes.
const description = "assets/openapi.json"

// target is where a generated file goes.
func target(name string) string {
	if base, ok := strings.CutSuffix(name, ".swagger.json"); ok {
		return "assets/" + path.Base(base) + ".json"
	}
	return name
}

func runPlugin(ctx context.Context, p plugin, req *pluginpb.CodeGeneratorRequest) (*pluginpb.CodeGeneratorResponse, error) {
	in, err := proto.Marshal(req)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "go", "tool", p.tool)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), os.Stderr
	b, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	out := &pluginpb.CodeGeneratorResponse{}
	if err := proto.Unmarshal(b, out); err != nil {
		return nil, err
	}
	if out.Error != nil {
		return nil, errors.New(out.GetError())
	}
	return out, nil
}

func write(made map[string]string) error {
	for name, text := range made {
		to := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(to, []byte(text), 0o644); err != nil {
			return err
		}
	}
	for _, name := range leftovers(made) {
		if err := os.Remove(filepath.Join(root, name)); err != nil {
			return err
		}
	}
	return nil
}

// stale names the committed files that are not what would be generated.
func stale(made map[string]string) []string {
	var problems []string
	for _, name := range slices.Sorted(maps.Keys(made)) {
		have, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		if err != nil || string(have) != made[name] {
			problems = append(problems, name+": run go generate ./gateway/rpc")
		}
	}
	for _, name := range leftovers(made) {
		problems = append(problems, name+" belongs to no .proto file")
	}
	return problems
}

// leftovers are generated files that nothing generates any more.
func leftovers(made map[string]string) []string {
	var left []string
	there, _ := filepath.Glob(filepath.Join(root, sources, "*.go")) // the pattern is sound
	for _, f := range there {
		if name := sources + "/" + filepath.Base(f); made[name] == "" {
			left = append(left, name)
		}
	}
	return left
}
