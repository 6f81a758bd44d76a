package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"

	"github.com/esante-alsace/cigogne/cmd/cigogne/progress"
	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/index"
	"github.com/esante-alsace/cigogne/storage/pack"
)

// archiveCommand gathers what looks after packs. All but rebuild-index read
// the index and write nothing to the data directory: they work beside the
// running node as well as without it.
type archiveCommand struct {
	List         archiveListCommand   `cmd:"" help:"List the packs that lie in the archives."`
	Verify       archiveVerifyCommand `cmd:"" help:"Read packs back and check every byte and digest; a node may be running."`
	Repair       archiveRepairCommand `cmd:"" help:"Verify, and bring lost and damaged copies back from others; a node may be running."`
	RebuildIndex rebuildCommand       `cmd:"" help:"Make the index anew from packs and journal alone, or from packs alone, while the node is stopped."`
}

// openIndexBeside opens the index for reading only.
func (s *stores) openIndexBeside(ctx context.Context) (*index.Index, error) {
	x, err := index.Open(ctx, index.Options{Path: s.indexPath(), ReadOnly: true})
	if errors.Is(err, storage.ErrNotFound) {
		return nil, fmt.Errorf("%w: there is no index: run 'cigogne archive rebuild-index --data-dir %s'", errPartly, s.DataDir)
	}
	return x, err
}

type archiveListCommand struct {
	stores
	longWork
	Study string `arg:"" optional:"" help:"StudyInstanceUID whose packs are listed; all by default."`
}

// Run lists each archive's packs and what the index knows of them.
func (l *archiveListCommand) Run(ctx context.Context, c console) error {
	if err := l.mounted(); err != nil {
		return err
	}
	x, err := l.openIndexBeside(ctx)
	if err != nil && !errors.Is(err, errPartly) { // archives are listed without it, too
		return err
	}
	var known *gateway.Register
	if x != nil {
		defer x.Close()
		if known, err = gateway.NewRegister(ctx, x); err != nil {
			return err
		}
	}
	a, err := l.openArchives(ctx, nil)
	if err != nil {
		return err
	}
	defer a.Close()
	work := l.start(c)
	defer work.End()
	work.Step("list", progress.Amount{})
	for _, one := range a.Each {
		if err := l.list(ctx, c, work, known, one); err != nil {
			return err
		}
	}
	return nil
}

func (l *archiveListCommand) list(ctx context.Context, c console, work *progress.Work, known *gateway.Register, a archive.Archive) error {
	l.say(c, "%s\n", a)
	for _, prefix := range []string{pack.StudiesPrefix, pack.ConflictsPrefix} {
		if l.Study != "" {
			prefix += l.Study + "/"
		}
		for st, err := range a.List(ctx, prefix) {
			if err != nil {
				return err
			}
			state := gateway.Knowledge("unknown") // there is no index
			if known != nil {
				if state, err = known.Of(ctx, st); err != nil {
					return err
				}
			}
			work.Add(1, st.Size)
			l.say(c, "  %-8s  %s  %8s  %s\n", state, st.Modified.UTC().Format(time.DateTime), humanize.IBytes(uint64(st.Size)), st.Key) //nolint:gosec // not negative
			work.Tell(progress.Event{Name: "pack", Fields: []slog.Attr{
				slog.String("archive", a.String()), slog.String("key", st.Key), slog.Int64("bytes", st.Size),
				slog.Time("modified", st.Modified), slog.String("state", string(state)),
			}})
		}
	}
	return nil
}

// archiveReading is what reads all packs.
type archiveReading struct {
	stores
	longWork
	Rate size `default:"0" placeholder:"BYTES" help:"Most bytes that are read a second, such as 20MiB; 0 for no bound (${default})."`
}

type archiveVerifyCommand struct{ archiveReading }

// Run verifies what the index names, and that there is nothing else.
func (v *archiveVerifyCommand) Run(ctx context.Context, c console) error { return v.run(ctx, c, false) }

type archiveRepairCommand struct{ archiveReading }

// Run verifies and repairs.
func (r *archiveRepairCommand) Run(ctx context.Context, c console) error { return r.run(ctx, c, true) }

func (r *archiveReading) run(ctx context.Context, c console, repair bool) error {
	if err := r.complete(); err != nil {
		return err
	}
	x, err := r.openIndexBeside(ctx)
	if err != nil {
		return err
	}
	defer x.Close()
	a, err := r.openArchives(ctx, nil)
	if err != nil {
		return err
	}
	defer a.Close()
	o := gateway.VerifierOptions{Index: x, Instances: true}
	o.Archives, o.Repair, err = a.Paced(int64(r.Rate), nil)
	switch {
	case err != nil:
		return err
	case repair && o.Repair == nil:
		return fmt.Errorf("%w: there is one archive, and nothing to repair it from", errUsage)
	case !repair:
		o.Repair = nil
	}
	return r.verify(ctx, c, o)
}

func (r *archiveReading) verify(ctx context.Context, c console, o gateway.VerifierOptions) error {
	_, copies, bytes, err := o.Index.Archived(ctx, 0)
	if err != nil {
		return err
	}
	work := r.start(c)
	away := false
	o.Read = func(n int) { work.Add(0, int64(n)) }
	o.Copied = func() { work.Add(1, 0) }
	o.Finding = func(f gateway.Finding) {
		away = away || f.Fault == gateway.Unreachable
		work.Tell(findingEvent(f))
	}
	v := gateway.NewVerifier(o)
	work.Step("verify", progress.Amount{Items: int64(copies), Bytes: bytes})
	done, err := v.All(ctx)
	if err == nil && o.Repair == nil {
		work.Step("look for strays", progress.Amount{})
		err = v.Strays(ctx)
		done = v.Done()
	}
	work.End()
	if err != nil {
		return err
	}
	return r.verdict(c, done, away)
}

func findingEvent(f gateway.Finding) progress.Event {
	return progress.Event{Name: "finding", Text: f.String(), Fields: []slog.Attr{
		slog.String("fault", string(f.Fault)), slog.String("archive", f.Archive), slog.String("key", f.Key),
		slog.String("text", f.What), slog.Bool("repaired", f.Repaired),
	}}
}

func (r *archiveReading) verdict(c console, done gateway.Verified, away bool) error {
	r.say(c, "verified %s in %s with %s\n", english.Plural(done.Packs, "pack", ""),
		english.Plural(done.Copies, "copy", ""), english.Plural(done.Instances, "instance", ""))
	if done.Repaired > 0 || done.Brought > 0 {
		r.say(c, "repaired %s and made %d for those missing\n", english.Plural(done.Repaired, "copy", ""), done.Brought)
	}
	switch left := done.Findings - done.Repaired; {
	case left > 0 && !away:
		return fmt.Errorf("%w: %s", errPartly, english.Plural(left, "finding", ""))
	case left > 0:
		return fmt.Errorf("%w: an archive does not answer, and not all could be verified: %s", storage.ErrUnavailable, english.Plural(left, "finding", ""))
	}
	r.say(c, "all is well\n")
	return nil
}
