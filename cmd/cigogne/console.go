package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/alecthomas/kong"
	"golang.org/x/term"

	"github.com/esante-alsace/cigogne/cmd/cigogne/progress"
	"github.com/esante-alsace/cigogne/storage"
)

// Exit codes, the same for every command; the README has them for people.
const (
	exitOK          = 0
	exitFailure     = 1   // the command failed
	exitUsage       = 2   // a flag, a variable or the configuration file is wrong
	exitPartly      = 3   // the command came to its end, and something was refused, is missing or damaged
	exitUnavailable = 4   // who was asked does not answer now: trying again later may help
	exitInterrupted = 130 // the command was interrupted, and may be called again to go on
)

// Errors that have an exit code of their own.
var (
	// errUsage marks an error in how the command was called.
	errUsage = errors.New("usage")
	// errPartly marks work that was done to its end and left something out,
	// which was said.
	errPartly = errors.New("not everything is well")
)

// exitCode is the one place where an error becomes an exit code.
func exitCode(ctx context.Context, err error) int {
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errUsage):
		return exitUsage
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.Is(err, errPartly):
		return exitPartly
	case errors.Is(err, storage.ErrUnavailable):
		return exitUnavailable
	}
	return exitFailure
}

// console is where a command speaks to the person or the program that called
// it: results go to out, all else to err.
type console struct{ out, err io.Writer }

// heard runs a command whose results must arrive: what is done and cannot be
// told is an error.
func (c console) heard(do func(c console) error) error {
	results := &remembering{Writer: c.out}
	if err := do(console{results, c.err}); err != nil {
		return err
	}
	return results.err
}

// remembering is a writer that remembers its first error.
type remembering struct {
	io.Writer
	err error
}

// Write implements io.Writer.
func (r *remembering) Write(p []byte) (int, error) {
	n, err := r.Writer.Write(p)
	if r.err == nil {
		r.err = err
	}
	return n, err
}

// filePath is a path that a person names. An empty one, as of a variable that
// is not set, would be taken for the folder that the person is in.
type filePath string

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *filePath) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		return errors.New("an empty path")
	}
	*p = filePath(kong.ExpandPath(string(text)))
	return nil
}

// longWork is embedded by commands that take long.
type longWork struct {
	JSON bool `name:"json" help:"Write one JSON object per event to standard output, and nothing else there."`
}

// start begins long work that is told of on standard error: as a bar when that
// is a terminal. With --json a program reads it from standard output.
func (l longWork) start(c console) *progress.Work {
	o := progress.Options{Out: c.err}
	if l.JSON {
		o.JSON = c.out
	}
	if f, ok := c.err.(*os.File); ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb" {
		o.Width = func() int {
			width, _, err := term.GetSize(int(f.Fd()))
			if err != nil || width <= 0 {
				return 80
			}
			return width
		}
	}
	return progress.Start(o)
}

// say writes a line of the result for a person; a program has the events.
func (l longWork) say(c console, format string, args ...any) {
	if !l.JSON {
		fmt.Fprintf(c.out, format, args...)
	}
}
