package main

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// linter collects what breaks the rules of buf's STANDARD category, in its
// words, and that every element is commented. Not held to is SERVICE_SUFFIX:
// services here are nouns.
type linter struct{ problems []string }

func (l *linter) add(d protoreflect.Descriptor, rule, why string, args ...any) {
	at := d.ParentFile().SourceLocations().ByDescriptor(d)
	l.problems = append(l.problems, fmt.Sprintf("%s:%d: %s: %s %s", d.ParentFile().Path(), at.StartLine+1, rule, d.Name(), fmt.Sprintf(why, args...)))
}

func lint(set *descriptorpb.FileDescriptorSet, targets []string) []string {
	files, err := protodesc.NewFiles(set)
	if err != nil {
		return []string{err.Error()}
	}
	l := &linter{}
	uses := map[protoreflect.FullName]int{}
	for _, name := range targets {
		f, err := files.FindFileByPath(name)
		if err != nil {
			return []string{err.Error()}
		}
		l.file(f)
		for i := range f.Services().Len() {
			l.service(f.Services().Get(i), uses)
		}
		l.messages(f.Messages())
		l.enums(f.Enums())
	}
	return l.problems
}

func (l *linter) file(f protoreflect.FileDescriptor) {
	if want := strings.ReplaceAll(string(f.Package()), ".", "/"); path.Dir(f.Path()) != want {
		l.problems = append(l.problems, fmt.Sprintf("%s: PACKAGE_DIRECTORY_MATCH: package %s belongs to %s", f.Path(), f.Package(), want))
	}
	if !regexp.MustCompile(`\.v[1-9][0-9]*$`).MatchString(string(f.Package())) {
		l.problems = append(l.problems, f.Path()+": PACKAGE_VERSION_SUFFIX: the package ends with no version")
	}
	if f.Syntax() != protoreflect.Proto3 {
		l.problems = append(l.problems, f.Path()+": SYNTAX: proto3 is used here")
	}
	for i := range f.Imports().Len() {
		if f.Imports().Get(i).IsPublic {
			l.problems = append(l.problems, f.Path()+": IMPORT_NO_PUBLIC")
		}
	}
}

func (l *linter) service(s protoreflect.ServiceDescriptor, uses map[protoreflect.FullName]int) {
	l.named(s, "SERVICE_PASCAL_CASE", pascal)
	for i := range s.Methods().Len() {
		m := s.Methods().Get(i)
		l.named(m, "RPC_PASCAL_CASE", pascal)
		for _, side := range []struct {
			rule, suffix string
			is           protoreflect.MessageDescriptor
		}{{"RPC_REQUEST_STANDARD_NAME", "Request", m.Input()}, {"RPC_RESPONSE_STANDARD_NAME", "Response", m.Output()}} {
			if want := string(s.Name()) + string(m.Name()) + side.suffix; string(side.is.Name()) != want {
				l.add(m, side.rule, "uses %s, not %s", side.is.Name(), want)
			}
			if uses[side.is.FullName()]++; uses[side.is.FullName()] > 1 {
				l.add(m, "RPC_REQUEST_RESPONSE_UNIQUE", "shares %s", side.is.Name())
			}
		}
	}
}

func (l *linter) messages(all protoreflect.MessageDescriptors) {
	for i := range all.Len() {
		m := all.Get(i)
		if m.IsMapEntry() {
			continue
		}
		l.named(m, "MESSAGE_PASCAL_CASE", pascal)
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			if !snake.MatchString(string(f.Name())) {
				l.add(f, "FIELD_LOWER_SNAKE_CASE", "is not lower_snake_case")
			}
		}
		for i := range m.Oneofs().Len() {
			if o := m.Oneofs().Get(i); !o.IsSynthetic() && !snake.MatchString(string(o.Name())) {
				l.add(o, "ONEOF_LOWER_SNAKE_CASE", "is not lower_snake_case")
			}
		}
		l.messages(m.Messages())
		l.enums(m.Enums())
	}
}

func (l *linter) enums(all protoreflect.EnumDescriptors) {
	for i := range all.Len() {
		e := all.Get(i)
		l.named(e, "ENUM_PASCAL_CASE", pascal)
		prefix := upperSnake(string(e.Name())) + "_"
		for i := range e.Values().Len() {
			v := e.Values().Get(i)
			if !strings.HasPrefix(string(v.Name()), prefix) || strings.ToUpper(string(v.Name())) != string(v.Name()) {
				l.add(v, "ENUM_VALUE_PREFIX", "does not begin with %s in upper case", prefix)
			}
		}
		if zero := e.Values().Get(0); string(zero.Name()) != prefix+"UNSPECIFIED" || zero.Number() != 0 {
			l.add(zero, "ENUM_ZERO_VALUE_SUFFIX", "is the first of %s, not %sUNSPECIFIED", e.Name(), prefix)
		}
	}
}

// named holds a declaration to its case, and to a comment.
func (l *linter) named(d protoreflect.Descriptor, rule string, want *regexp.Regexp) {
	if !want.MatchString(string(d.Name())) {
		l.add(d, rule, "is not %s", want)
	}
	// Requests and responses are explained at their method.
	exchanged := strings.HasSuffix(string(d.Name()), "Request") || strings.HasSuffix(string(d.Name()), "Response")
	if at := d.ParentFile().SourceLocations().ByDescriptor(d); !exchanged && strings.TrimSpace(at.LeadingComments) == "" {
		l.add(d, "COMMENT", "has no comment")
	}
}

var (
	pascal = regexp.MustCompile(`^[A-Z][A-Za-z0-9]*$`)
	snake  = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)
)

func upperSnake(name string) string {
	var b []rune
	for i, r := range name {
		if i > 0 && r >= 'A' && r <= 'Z' {
			b = append(b, '_')
		}
		b = append(b, r)
	}
	return strings.ToUpper(string(slices.Clip(b)))
}
