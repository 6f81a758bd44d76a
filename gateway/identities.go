package gateway

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/archive"
	"github.com/esante-alsace/cigogne/storage/index"
)

// Changes of identities lie in the archive as objects of lines: what the
// object is, then a change in each. They are never changed.
const (
	identitiesPrefix  = "identities/"
	identitiesSuffix  = ".ndjson"
	identitiesFormat  = "cigogne identities"
	identitiesVersion = 1
	identitiesAbout   = "Decisions about whose identifiers are one person's, one a line, in the order in which they apply: " +
		"'linked' links local with the authority's number, 'undone' ends that, 'queued' waits for a person, 'dismissed' settles one without a link, 'opposed' keeps local out of the shared record, 'unopposed' ends that. " +
		"'at' is in nanoseconds of Unix time."
	// identitiesMost bounds the changes of one object, identityLine a line of it.
	identitiesMost = 1000
	identityLine   = 128 << 10
	// identitiesBytes bounds an object that is read back.
	identitiesBytes = identitiesMost*identityLine + identityLine
	// keepEvery is how often the keeper looks by itself.
	keepEvery = time.Minute
)

// identitiesHeader is the first line of an object.
type identitiesHeader struct {
	Format  string `json:"format"`
	Version int    `json:"version"`
	About   string `json:"about"`
}

// IdentityKeeper brings what was decided about identities into the archive,
// so that a rebuild finds it: it is in no pack.
type IdentityKeeper struct {
	index    *index.Index
	proposer Proposer
	archive  archive.Archive
	log      *slog.Logger
	wake     chan struct{} // capacity 1
}

// NewIdentityKeeper returns a keeper that puts objects into a.
func NewIdentityKeeper(x *index.Index, p Proposer, a archive.Archive, log *slog.Logger) *IdentityKeeper {
	return &IdentityKeeper{index: x, proposer: p, archive: a, log: log, wake: make(chan struct{}, 1)}
}

// Changed tells that there is something to keep. It does not block.
func (k *IdentityKeeper) Changed() { signal(k.wake) }

// Run keeps until ctx ends. While the archive or the index takes nothing it
// tries again, ever more seldom.
func (k *IdentityKeeper) Run(ctx context.Context) error {
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	for wait := retryLeast; ; {
		if err := k.Keep(ctx); err != nil && ctx.Err() == nil {
			k.log.Error("decisions about identities are not in the archive yet, will try again", "error", err)
			if err := pause(ctx, wait); err != nil {
				return err
			}
			wait = min(2*wait, keepEvery)
			continue
		}
		wait = retryLeast
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		case <-k.wake:
		}
	}
}

// Keep brings all there is into the archive. A crash in between repeats an
// object or a part of it: changes are known by their names.
func (k *IdentityKeeper) Keep(ctx context.Context) error {
	for {
		changes, err := k.index.UnkeptIdentities(ctx, identitiesMost)
		if err != nil || len(changes) == 0 {
			return err
		}
		object, err := encodeIdentities(changes)
		if err != nil {
			return err
		}
		key := fmt.Sprintf("%s%016d%s", identitiesPrefix, changes[0].Sequence, identitiesEnd(object))
		if _, err := k.archive.Put(ctx, key, inMemory(object)); err != nil {
			return err
		}
		kept := make([]string, len(changes))
		for i, c := range changes {
			kept[i] = c.Name
		}
		if err := k.proposer.Propose(ctx, index.Batch{Identities: &index.Identities{Kept: kept}}); err != nil {
			return err
		}
	}
}

// identitiesEnd is how the key of an object ends: with the sum of its bytes.
func identitiesEnd(object []byte) string {
	sum := sha256.Sum256(object)
	return "-" + hex.EncodeToString(sum[:6]) + identitiesSuffix
}

// inMemory is an archive.Source of bytes.
type inMemory []byte

// Size implements archive.Source.
func (m inMemory) Size() int64 { return int64(len(m)) }

// Open implements archive.Source.
func (m inMemory) Open(_ context.Context, r storage.Range) (io.ReadCloser, error) {
	if !r.Within(m.Size()) {
		return nil, fmt.Errorf("%w: bytes %d-%d of %d", storage.ErrInvalid, r.Offset, r.End(), m.Size())
	}
	return io.NopCloser(bytes.NewReader(m[r.Offset:r.End()])), nil
}

func encodeIdentities(changes []index.IdentityChange) ([]byte, error) {
	var b bytes.Buffer
	lines := json.NewEncoder(&b)
	if err := lines.Encode(identitiesHeader{identitiesFormat, identitiesVersion, identitiesAbout}); err != nil {
		return nil, fmt.Errorf("encode identities: %w", err)
	}
	for i := range changes {
		if err := lines.Encode(&changes[i]); err != nil {
			return nil, fmt.Errorf("encode identities: %w", err)
		}
	}
	return b.Bytes(), nil
}

// decodeIdentities reads an object back. Other bytes are storage.ErrCorrupt,
// an object of a later version is storage.ErrUnsupported.
func decodeIdentities(r io.Reader) ([]index.IdentityChange, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, identityLine)
	var h identitiesHeader
	if !lines.Scan() || json.Unmarshal(lines.Bytes(), &h) != nil || h.Format != identitiesFormat {
		return nil, fmt.Errorf("%w: no decisions about identities", storage.ErrCorrupt)
	}
	if h.Version != identitiesVersion {
		return nil, fmt.Errorf("%w: decisions about identities of version %d", storage.ErrUnsupported, h.Version)
	}
	var changes []index.IdentityChange
	for lines.Scan() {
		var c index.IdentityChange
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return nil, fmt.Errorf("%w: a decision about an identity: %w", storage.ErrCorrupt, err)
		}
		c.Before = 0
		if changes = append(changes, c); len(changes) > identitiesMost {
			return nil, fmt.Errorf("%w: more than %d decisions about identities", storage.ErrCorrupt, identitiesMost)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%w: decisions about identities: %w", storage.ErrCorrupt, err)
	}
	if err := (index.Batch{Identities: &index.Identities{Changes: changes}}).Validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", storage.ErrCorrupt, err)
	}
	return changes, nil
}

// identities enters what was decided about identities, in the order in which
// it was, from whichever archive has it.
func (b *rebuild) identities(ctx context.Context) error {
	at := map[string][]archive.Archive{}
	for _, a := range b.Archives {
		for st, err := range a.List(ctx, identitiesPrefix) {
			if err != nil {
				return err
			}
			at[st.Key] = append(at[st.Key], a)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(at)) { // by Sequence
		if err := b.identitiesAt(ctx, at[key], key); err != nil {
			return err
		}
	}
	return nil
}

// identitiesAt enters one object from the first archive that gives it as it was
// put, and tells of the others before it.
func (b *rebuild) identitiesAt(ctx context.Context, archives []archive.Archive, key string) error {
	var unread []error
	for _, a := range archives {
		changes, err := readIdentities(ctx, a, key)
		if err == nil {
			for _, err := range unread {
				b.problem("%s: %v; another archive has it", key, err)
			}
			return b.decided(ctx, changes)
		}
		if cerr := a.Check(ctx); cerr != nil {
			return fmt.Errorf("%s: %w", key, errors.Join(err, cerr))
		}
		unread = append(unread, err)
	}
	b.problem("%s: %v", key, errors.Join(unread...))
	return nil
}

// readIdentities reads an object back. Bytes that are not those of which its
// key has the sum are storage.ErrCorrupt: one bit may make another patient of
// one, and an end that is cut off be no less an object.
func readIdentities(ctx context.Context, a archive.Archive, key string) ([]index.IdentityChange, error) {
	st, err := a.Stat(ctx, key)
	if err != nil {
		return nil, err
	}
	if st.Size > identitiesBytes {
		return nil, fmt.Errorf("%w: an object of %d bytes", storage.ErrCorrupt, st.Size)
	}
	body, err := a.Get(ctx, key, storage.Range{Length: st.Size})
	if err != nil {
		return nil, err
	}
	defer body.Close()
	object, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	changes, err := decodeIdentities(bytes.NewReader(object))
	if err == nil && !strings.HasSuffix(key, identitiesEnd(object)) {
		err = fmt.Errorf("%w: its bytes are not those that were put", storage.ErrCorrupt)
	}
	return changes, err
}

func (b *rebuild) decided(ctx context.Context, changes []index.IdentityChange) error {
	i := &index.Identities{Changes: changes}
	for _, c := range changes {
		i.Kept = append(i.Kept, c.Name)
	}
	_, err := b.Index.Apply(ctx, index.Batch{Identities: i})
	return err
}
