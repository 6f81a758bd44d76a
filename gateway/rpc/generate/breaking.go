package main

import (
	"fmt"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

// breaking names what was in the baseline and would fail a client that was
// built with it: on the wire, in JSON, in generated code, or at a REST path. A
// field that is gone must have its number and its name reserved.
func breaking(base, now *descriptorpb.FileDescriptorSet) []string {
	was, is := inventory(base), inventory(now)
	var problems []string
	for _, name := range was.order {
		if is.of[name] != was.of[name] && !is.reserved[name] {
			problems = append(problems, fmt.Sprintf("%s was %s, is %s", name, was.of[name], orGone(is.of[name])))
		}
	}
	return problems
}

func orGone(s string) string {
	if s == "" {
		return "gone"
	}
	return s
}

// declarations are what clients depend on: each by its name, with what about
// it may not change.
type declarations struct {
	of       map[string]string
	order    []string
	reserved map[string]bool
}

func (d *declarations) add(name, what string) {
	d.of[name] = what
	d.order = append(d.order, name)
}

func inventory(set *descriptorpb.FileDescriptorSet) *declarations {
	d := &declarations{of: map[string]string{}, reserved: map[string]bool{}}
	for _, f := range set.File {
		for _, s := range f.Service {
			for _, m := range s.Method {
				d.method(f.GetPackage()+"."+s.GetName()+"."+m.GetName(), m)
			}
		}
		for _, m := range f.MessageType {
			d.message(f.GetPackage()+"."+m.GetName(), m)
		}
		for _, e := range f.EnumType {
			d.enum(f.GetPackage()+"."+e.GetName(), e)
		}
	}
	return d
}

func (d *declarations) method(name string, m *descriptorpb.MethodDescriptorProto) {
	d.add(name, fmt.Sprintf("a method from %s (stream %t) to %s (stream %t)", m.GetInputType(), m.GetClientStreaming(), m.GetOutputType(), m.GetServerStreaming()))
	rule, _ := proto.GetExtension(m.GetOptions(), annotations.E_Http).(*annotations.HttpRule)
	for _, r := range append([]*annotations.HttpRule{rule}, rule.GetAdditionalBindings()...) {
		if at := bound(r); at != "" {
			d.add(name+" at "+at, fmt.Sprintf("bound with body %q", r.GetBody()))
		}
	}
}

// bound is the REST method and path of a rule.
func bound(r *annotations.HttpRule) string {
	switch p := r.GetPattern().(type) {
	case *annotations.HttpRule_Get:
		return "GET " + p.Get
	case *annotations.HttpRule_Post:
		return "POST " + p.Post
	case *annotations.HttpRule_Put:
		return "PUT " + p.Put
	case *annotations.HttpRule_Patch:
		return "PATCH " + p.Patch
	case *annotations.HttpRule_Delete:
		return "DELETE " + p.Delete
	}
	return ""
}

func (d *declarations) message(name string, m *descriptorpb.DescriptorProto) {
	d.add(name, "a message")
	for _, f := range m.Field {
		d.add(fmt.Sprintf("%s.%s", name, f.GetName()),
			fmt.Sprintf("field %d, %v %v %s in oneof %t", f.GetNumber(), f.GetLabel(), f.GetType(), f.GetTypeName(), f.OneofIndex != nil))
	}
	for _, gone := range m.ReservedName {
		at := name + "." + gone
		d.reserved[at] = len(m.ReservedRange) > 0
	}
	for _, n := range m.NestedType {
		d.message(name+"."+n.GetName(), n)
	}
	for _, e := range m.EnumType {
		d.enum(name+"."+e.GetName(), e)
	}
}

func (d *declarations) enum(name string, e *descriptorpb.EnumDescriptorProto) {
	d.add(name, "an enum")
	for _, v := range e.Value {
		d.add(name+"."+v.GetName(), fmt.Sprintf("value %d", v.GetNumber()))
	}
}
