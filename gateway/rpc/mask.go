package rpc

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/esante-alsace/cigogne/storage"
)

// mask is a tree of the fields that are wanted; an empty one wants all.
type mask map[protoreflect.Name]mask

// maskPaths bounds the paths of a mask.
const maskPaths = 128

// newMask reads a field mask of messages like of. Paths may be written as in
// JSON.
func newMask(asked *fieldmaskpb.FieldMask, of proto.Message) (mask, error) {
	m := mask{}
	if len(asked.GetPaths()) > maskPaths {
		return nil, inField("read_mask", fmt.Errorf("%w: read_mask has more than %d paths", storage.ErrInvalid, maskPaths))
	}
	for _, path := range asked.GetPaths() {
		if path == "*" {
			return mask{}, nil
		}
		if err := m.add(path, of.ProtoReflect().Descriptor()); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m mask) add(path string, in protoreflect.MessageDescriptor) error {
	at := m
	for name := range strings.SplitSeq(path, ".") {
		var f protoreflect.FieldDescriptor
		if in != nil {
			if f = in.Fields().ByName(protoreflect.Name(name)); f == nil {
				f = in.Fields().ByJSONName(name)
			}
		}
		if f == nil {
			return inField("read_mask", fmt.Errorf("%w: read_mask: there is no field %q", storage.ErrInvalid, path))
		}
		next, known := at[f.Name()]
		switch {
		case !known:
			next = mask{}
			at[f.Name()] = next
		case len(next) == 0: // a path above wants all of it: go on beside the tree
			next = mask{}
		}
		at, in = next, f.Message()
	}
	clear(at) // this path wants all below
	return nil
}

// apply clears what is not wanted.
func (m mask) apply(to protoreflect.Message) {
	if len(m) == 0 {
		return
	}
	to.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		below, wanted := m[f.Name()]
		switch {
		case !wanted:
			to.Clear(f)
		case len(below) == 0 || f.Message() == nil || f.IsMap():
		case f.IsList():
			for i := range v.List().Len() {
				below.apply(v.List().Get(i).Message())
			}
		default:
			below.apply(v.Message())
		}
		return true
	})
}
