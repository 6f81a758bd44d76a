package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	// What the .proto files import is taken from the Go packages that were
	// generated from it: nothing has to be copied here.
	_ "google.golang.org/genproto/googleapis/api/annotations"
	_ "google.golang.org/protobuf/types/known/emptypb"
	_ "google.golang.org/protobuf/types/known/fieldmaskpb"
)

// compile returns the descriptors of the .proto files in the folder dir below
// root and of all that they import, each behind what it imports, and the names
// of those in dir.
func compile(ctx context.Context, root, dir string) (*descriptorpb.FileDescriptorSet, []string, error) {
	found, err := filepath.Glob(filepath.Join(root, dir, "*.proto"))
	if err != nil || len(found) == 0 {
		return nil, nil, errors.Join(err, fmt.Errorf("no .proto files in %s", filepath.Join(root, dir)))
	}
	var targets []string
	for _, f := range found {
		targets = append(targets, dir+"/"+filepath.Base(f))
	}
	compiler := protocompile.Compiler{
		Resolver: protocompile.CompositeResolver{
			&protocompile.SourceResolver{ImportPaths: []string{root}},
			protocompile.ResolverFunc(registered),
		},
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	files, err := compiler.Compile(ctx, targets...)
	if err != nil {
		return nil, nil, err
	}
	set, seen := &descriptorpb.FileDescriptorSet{}, map[string]bool{}
	for _, f := range files {
		add(set, seen, f)
	}
	// Options that are extensions are fields of their own only after they
	// were read with the extensions known.
	b, err := proto.Marshal(set)
	if err != nil {
		return nil, nil, err
	}
	known := &descriptorpb.FileDescriptorSet{}
	return known, targets, proto.Unmarshal(b, known)
}

// registered finds a file among those that are linked into this program.
func registered(name string) (protocompile.SearchResult, error) {
	f, err := protoregistry.GlobalFiles.FindFileByPath(name)
	if err != nil {
		return protocompile.SearchResult{}, err
	}
	return protocompile.SearchResult{Proto: protodesc.ToFileDescriptorProto(f)}, nil
}

func add(set *descriptorpb.FileDescriptorSet, seen map[string]bool, f protoreflect.FileDescriptor) {
	if seen[f.Path()] {
		return
	}
	seen[f.Path()] = true
	for i := range f.Imports().Len() {
		add(set, seen, f.Imports().Get(i).FileDescriptor)
	}
	set.File = append(set.File, protodesc.ToFileDescriptorProto(f))
}

// only is the part of the set that is of the targets.
func only(set *descriptorpb.FileDescriptorSet, targets []string) *descriptorpb.FileDescriptorSet {
	out := &descriptorpb.FileDescriptorSet{}
	for _, f := range set.File {
		if slices.Contains(targets, f.GetName()) {
			out.File = append(out.File, f)
		}
	}
	return out
}

// writeBaseline keeps the descriptors, without comments.
func writeBaseline(files *descriptorpb.FileDescriptorSet, targets []string) error {
	base := only(files, targets)
	for _, f := range base.File {
		f.SourceCodeInfo = nil
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(base)
	if err != nil {
		return err
	}
	return os.WriteFile(baselineFile, b, 0o644)
}

func readBaseline() (*descriptorpb.FileDescriptorSet, error) {
	b, err := os.ReadFile(baselineFile)
	if err != nil {
		return nil, err
	}
	base := &descriptorpb.FileDescriptorSet{}
	return base, proto.Unmarshal(b, base)
}
