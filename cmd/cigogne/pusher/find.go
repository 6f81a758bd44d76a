package pusher

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/esante-alsace/cigogne/storage"
)

// source is a file that is found, and not opened yet.
type source struct {
	name string // as a person knows it
	size int64
	// named tells that it was asked for by name: then it must be DICOM.
	named bool
	// root, when set, is the folder that the file must not lie outside of, and
	// path lies in it.
	root *os.Root
	path string
}

// open opens what must be a regular file: it never waits, as a FIFO would for
// somebody who writes to it.
func (s source) open() (*os.File, error) {
	const flags = os.O_RDONLY | syscall.O_NONBLOCK
	var f *os.File
	var err error
	if s.root != nil {
		f, err = s.root.OpenFile(s.path, flags, 0)
	} else {
		f, err = os.OpenFile(s.path, flags, 0)
	}
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = errNoFile
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

var (
	errNoFile = fmt.Errorf("%w: not a file", storage.ErrInvalid)
	// errLink: what a link in a folder leads to may lie anywhere.
	errLink = errors.New("a link, which is not followed in a folder")
)

// found is told of each file, or of what could not be read. It returns false
// to end the search.
type found func(s source, err error) bool

// finder finds files. What it found can be opened until it is closed.
type finder struct{ roots []*os.Root }

func (f *finder) close() {
	for _, r := range f.roots {
		r.Close()
	}
}

// find yields the files that the paths name: a file itself, what lies in a
// folder however deep, and what a DICOMDIR refers to.
func (f *finder) find(ctx context.Context, paths []string, yield found) {
	for _, p := range paths {
		if ctx.Err() != nil || !f.findOne(ctx, p, yield) {
			return
		}
	}
}

func (f *finder) findOne(ctx context.Context, path string, yield found) bool {
	st, err := os.Stat(path)
	switch {
	case err != nil:
		return yield(source{name: path, named: true}, err)
	case st.IsDir():
		return walk(ctx, path, yield)
	case !st.Mode().IsRegular():
		return yield(source{name: path, named: true}, errNoFile)
	}
	s := source{name: path, path: path, size: st.Size(), named: true}
	if is, err := isDICOMDIR(s); err != nil || !is {
		return yield(s, err)
	}
	return f.readDICOMDIR(ctx, s, yield)
}

// walk yields the regular files below a folder, and the links, which it does
// not follow.
func walk(ctx context.Context, root string, yield found) bool {
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return filepath.SkipAll
		}
		if err != nil {
			if !yield(source{name: path, named: true}, err) {
				return errEnough
			}
			return nil
		}
		s := source{name: path, path: path}
		switch {
		case d.Type()&fs.ModeSymlink != 0:
			err = errLink
		case !d.Type().IsRegular():
			return nil
		default:
			var info fs.FileInfo
			if info, err = d.Info(); err == nil {
				s.size = info.Size()
			}
		}
		if !yield(s, err) {
			return errEnough
		}
		return nil
	})
	return err == nil
}

var errEnough = errors.New("enough")
