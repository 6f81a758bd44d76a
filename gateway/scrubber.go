package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/index"
)

// ScrubberOptions are the parts a Scrubber works with.
type ScrubberOptions struct {
	Index    *index.Index
	Proposer Proposer
	// Archives are those that are read, at the rate that they are read at.
	Archives []archive.Archive
	// Repair brings back what is lost or damaged; nil when there is but one
	// archive.
	Repair Copier
	// Every is the least time between the beginnings of two rounds.
	Every time.Duration
	// State is the file that keeps how far the round is.
	State string
	// Suspects are keys of packs that a reader found damaged: they are
	// verified at once. It may be nil.
	Suspects <-chan string
	Logger   *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// ScrubState is how far the round is, as it is kept over a restart.
type ScrubState struct {
	// Began is when the round began, and Ended when the last one that was
	// finished did.
	Began time.Time `json:"began"`
	Ended time.Time `json:"ended"`
	// Over is true between two rounds.
	Over bool `json:"over"`
	// After is the pack that was verified last, by its place in the index.
	After int64 `json:"after"`
	// Packs, Bytes, Lost, Damaged, and Repaired count those of the round;
	// Unrepaired are keys of packs with copies that are not as they should be
	// (at most 100 are named).
	Packs      int      `json:"packs"`
	Bytes      int64    `json:"bytes"`
	Lost       int      `json:"lost"`
	Damaged    int      `json:"damaged"`
	Repaired   int      `json:"repaired"`
	Unrepaired []string `json:"unrepaired,omitempty"`
}

// ScrubTotals count what was done since the start.
type ScrubTotals struct {
	Packs, Lost, Damaged, Repaired int
	Bytes                          int64
}

const (
	// scrubList is how many packs are taken up at once, after which what was
	// done is kept.
	scrubList = 16
	// scrubRetryLeast and scrubRetryMost bound the pauses while an archive
	// does not answer.
	scrubRetryLeast, scrubRetryMost = 10 * time.Second, 10 * time.Minute
	// scrubLook is the longest pause between two rounds.
	scrubLook = time.Minute
	// toldUnrepaired bounds ScrubState.Unrepaired.
	toldUnrepaired = 100
)

// Scrubber reads all packs again and again, slowly, so that damage is found
// while another copy is sound, and brings back what it can. A restart goes on
// where it was.
type Scrubber struct {
	o ScrubberOptions

	mu     sync.Mutex
	state  ScrubState
	totals ScrubTotals
}

// NewScrubber returns a Scrubber; Run sets it to work. A state that cannot be
// read begins a new round.
func NewScrubber(o ScrubberOptions) *Scrubber {
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Scrubber{o: o}
	raw, err := os.ReadFile(o.State)
	if err == nil {
		err = json.Unmarshal(raw, &s.state)
	}
	if err != nil {
		s.state = ScrubState{}
		if !errors.Is(err, fs.ErrNotExist) {
			o.Logger.Warn("how far the scrubber was cannot be read: it begins anew", "error", err)
		}
	}
	return s
}

// State tells how far the round is, and what was done since the start.
func (s *Scrubber) State() (ScrubState, ScrubTotals) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state, s.totals
}

// Run scrubs until ctx ends, whose error it returns. What fails is logged, and
// tried again with growing pauses.
func (s *Scrubber) Run(ctx context.Context) error {
	retry := scrubRetryLeast
	for {
		wait, err := s.Step(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			s.o.Logger.Warn("packs cannot be verified now, will try again", "in", retry, "error", err)
			wait, retry = retry, min(2*retry, scrubRetryMost)
		} else {
			retry = scrubRetryLeast
		}
		if err := s.rest(ctx, wait); err != nil {
			return err
		}
	}
}

// rest waits, and verifies what readers found damaged meanwhile.
func (s *Scrubber) rest(ctx context.Context, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case key := <-s.o.Suspects:
			if err := s.suspect(ctx, key); err != nil && ctx.Err() == nil {
				s.o.Logger.Warn("a pack that a reader found damaged cannot be verified now", "key", key, "error", err)
			}
		case <-timer.C:
			return nil
		}
	}
}

func (s *Scrubber) suspect(ctx context.Context, key string) error {
	p, state, err := s.o.Index.PackNamed(ctx, packIDOf(key))
	if err != nil || state != index.PackArchived {
		return err
	}
	_, err = s.verify(ctx, s.verifier(), p)
	return err
}

// Step verifies the next packs of the round, or begins one that is due. It
// returns how long there is nothing to do.
func (s *Scrubber) Step(ctx context.Context) (time.Duration, error) {
	state, _ := s.State()
	now := s.o.Now()
	if due := state.Began.Add(s.o.Every); (state.Over || state.Began.IsZero()) && now.Before(due) {
		return min(due.Sub(now), scrubLook), nil
	}
	if state.Over || state.Began.IsZero() {
		s.change(func(t *ScrubState, _ *ScrubTotals) { *t = ScrubState{Began: now, Ended: t.Ended} })
	}
	return 0, s.some(ctx)
}

// some verifies a few packs, or ends the round when there are no more.
func (s *Scrubber) some(ctx context.Context) error {
	state, _ := s.State()
	v := s.verifier()
	// One at a time: each has a place of its own to go on after.
	for range scrubList {
		packs, place, err := s.o.Index.PacksAfter(ctx, state.After, 1)
		if err != nil {
			return err
		}
		if len(packs) == 0 {
			s.end()
			return s.keep()
		}
		away, err := s.verify(ctx, v, packs[0])
		if err != nil || away {
			return errors.Join(err, s.keep(), unreachable(away))
		}
		state.After = place
		s.change(func(t *ScrubState, _ *ScrubTotals) { t.After = place })
	}
	return s.keep()
}

func unreachable(away bool) error {
	if away {
		return fmt.Errorf("%w: an archive does not answer", storage.ErrUnavailable)
	}
	return nil
}

func (s *Scrubber) end() {
	s.change(func(t *ScrubState, _ *ScrubTotals) {
		t.Over, t.Ended = true, s.o.Now()
		s.o.Logger.Info("all packs were verified", "packs", t.Packs, "bytes", t.Bytes, "since", t.Began,
			"lost", t.Lost, "damaged", t.Damaged, "repaired", t.Repaired, "unrepaired", len(t.Unrepaired))
	})
}

func (s *Scrubber) verifier() *Verifier {
	return NewVerifier(VerifierOptions{
		Index: s.o.Index, Archives: s.o.Archives, Repair: s.o.Repair, Proposer: s.o.Proposer,
		Read: func(n int) {
			s.change(func(t *ScrubState, all *ScrubTotals) { t.Bytes += int64(n); all.Bytes += int64(n) })
		},
		Finding: s.found,
	})
}

// verify verifies a pack. It is away when an archive does not answer, and the
// pack is then to be verified again.
func (s *Scrubber) verify(ctx context.Context, v *Verifier, p index.Pack) (away bool, err error) {
	if _, err := v.Pack(ctx, p); err != nil {
		return false, err
	}
	if len(v.away) > 0 {
		return true, nil
	}
	s.change(func(t *ScrubState, all *ScrubTotals) { t.Packs++; all.Packs++ })
	return false, nil
}

func (s *Scrubber) found(f Finding) {
	switch {
	case f.Fault == Unreachable:
		return
	case f.Repaired:
		s.o.Logger.Warn("a copy of a pack was repaired", "archive", f.Archive, "key", f.Key, "fault", f.Fault, "what", f.What)
	default:
		s.o.Logger.Error("a copy of a pack is not as it should be", "archive", f.Archive, "key", f.Key, "fault", f.Fault, "what", f.What)
	}
	s.change(func(t *ScrubState, all *ScrubTotals) {
		switch f.Fault {
		case Lost:
			t.Lost++
			all.Lost++
		default:
			t.Damaged++
			all.Damaged++
		}
		switch {
		case f.Repaired:
			t.Repaired++
			all.Repaired++
		case len(t.Unrepaired) < toldUnrepaired:
			t.Unrepaired = append(t.Unrepaired, f.Key)
		}
	})
}

func (s *Scrubber) change(f func(*ScrubState, *ScrubTotals)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.state, &s.totals)
}

// keep writes the state beside the old one and puts it in its place. It is
// not synced: losing it costs a few packs verified twice.
func (s *Scrubber) keep() error {
	state, _ := s.State()
	raw, err := json.MarshalIndent(state, "", "  ")
	if err == nil {
		err = os.WriteFile(s.o.State+".new", append(raw, '\n'), 0o600)
	}
	if err == nil {
		err = os.Rename(s.o.State+".new", s.o.State)
	}
	if err != nil {
		return fmt.Errorf("keep how far the scrubber is: %w", err)
	}
	return nil
}
