package consensus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"

	"github.com/esante-alsace/cigogne/consensus/peer"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

// Path is where a node's Handler is on the peer port. The number is the
// version of what nodes and operators say there.
const Path = "/cluster/v2/"

const (
	// callBytes bounds what is said in a call but proposals, and answered.
	callBytes = 1 << 20
	// appliedHeader tells up to which entry a copy of the index has the log.
	appliedHeader = "Cigogne-Applied"
)

// place answers calls that ask for one.
type place struct {
	At uint64 `json:"at"`
}

// Handler answers what nodes and operators ask on the peer port.
func (n *Node) Handler() http.Handler {
	mux := http.NewServeMux()
	handle := func(method, name string, h func(http.ResponseWriter, *http.Request) (any, error)) {
		mux.HandleFunc(method+" "+Path+name, func(w http.ResponseWriter, r *http.Request) {
			v, err := h(w, r)
			if err != nil {
				fail(w, err)
				return
			}
			if v != nil {
				w.Header().Set("Content-Type", "application/json")
				json.NewEncoder(w).Encode(v) //nolint:errcheck,errchkjson // the caller has gone
			}
		})
	}
	handle(http.MethodGet, "status", func(http.ResponseWriter, *http.Request) (any, error) { return n.Status(), nil })
	handle(http.MethodGet, "overview", func(_ http.ResponseWriter, r *http.Request) (any, error) { return n.Overview(r.Context()), nil })
	handle(http.MethodPost, "propose", n.takeProposal)
	handle(http.MethodGet, "committed", func(_ http.ResponseWriter, r *http.Request) (any, error) {
		at, err := n.verified(r.Context())
		return place{at}, err
	})
	handle(http.MethodGet, "index", n.sendIndex)
	handle(http.MethodPost, "join", n.atLeader("join", (*Node).admit))
	handle(http.MethodPost, "add", n.atLeader("add", (*Node).add))
	handle(http.MethodPost, "remove", n.atLeader("remove", (*Node).remove))
	handle(http.MethodPost, "transfer", n.atLeader("transfer", func(n *Node, r joinRequest) error { return n.handOver(r.ID) }))
	handle(http.MethodPost, "drain", n.atNode("drain", func(n *Node) error { return n.Drain(true) }))
	handle(http.MethodPost, "undrain", n.atNode("undrain", func(n *Node) error { return n.Drain(false) }))
	return mux
}

// Proposals is how many of other nodes are under way here, and how many may be.
func (n *Node) Proposals() (now, most int) { return len(n.slots), cap(n.slots) }

// takeProposal commits what another node proposes.
func (n *Node) takeProposal(w http.ResponseWriter, r *http.Request) (any, error) {
	if id, ok := peer.From(r.Context()); !ok || id.Role != peer.RoleNode {
		return nil, fmt.Errorf("%w: nodes propose", storage.ErrForbidden)
	}
	select {
	case n.slots <- struct{}{}:
		defer func() { <-n.slots }()
	default:
		return nil, fmt.Errorf("%w: too many proposals at a time", storage.ErrUnavailable)
	}
	entry, err := io.ReadAll(http.MaxBytesReader(w, r.Body, entryBytes))
	if err != nil {
		return nil, fmt.Errorf("%w: proposal: %w", storage.ErrInvalid, err)
	}
	// What this node does not understand it must not commit: others of its
	// version could not apply it.
	if _, err := decodeEntry(entry); err != nil {
		return nil, err
	}
	if !n.Leads() {
		return nil, fmt.Errorf("%w: node %s does not lead", storage.ErrUnavailable, n.o.ID)
	}
	at, err := n.append(r.Context(), entry)
	return place{at}, err
}

// sendIndex streams a copy of the index.
func (n *Node) sendIndex(w http.ResponseWriter, r *http.Request) (any, error) {
	if id, ok := peer.From(r.Context()); !ok || id.Role != peer.RoleNode {
		return nil, fmt.Errorf("%w: nodes fetch the index", storage.ErrForbidden)
	}
	if err := n.machine.unsound(); err != nil {
		return nil, err
	}
	least, err := strconv.ParseUint(r.URL.Query().Get("least"), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%w: least", storage.ErrInvalid)
	}
	if at := n.machine.position(); at < least {
		return nil, fmt.Errorf("%w: node %s has %d of %d entries", storage.ErrUnavailable, n.o.ID, at, least)
	}
	f, applied, err := n.snapshots.copy(r.Context())
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	w.Header().Set("Content-Length", strconv.FormatInt(st.Size(), 10))
	w.Header().Set(appliedHeader, strconv.FormatUint(applied, 10))
	io.Copy(w, f) //nolint:errcheck // who asked has gone, and counts what came
	return nil, nil
}

// atLeader does something at the leader, which the call is handed on to once.
func (n *Node) atLeader(name string, do func(*Node, joinRequest) error) func(http.ResponseWriter, *http.Request) (any, error) {
	return func(w http.ResponseWriter, r *http.Request) (any, error) {
		var req joinRequest
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, callBytes)).Decode(&req); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", storage.ErrInvalid, name, err)
		}
		if id, ok := peer.From(r.Context()); name == "join" && r.Header.Get(handedOn) == "" && (!ok || id.Name != req.ID) {
			return nil, fmt.Errorf("%w: %s asks to let %s in", storage.ErrForbidden, id, req.ID)
		}
		if n.Leads() {
			return struct{}{}, do(n, req)
		}
		l, ok := n.Leader()
		if !ok || l.ID == n.o.ID || r.Header.Get(handedOn) != "" {
			return nil, errNoLeader
		}
		return struct{}{}, n.call(r.Context(), l.Node(), name, req, nil)
	}
}

// handedOn marks a call that another node hands on.
const handedOn = "Cigogne-Handed-On"

// atNode does something at the node that the call names.
func (n *Node) atNode(name string, do func(*Node) error) func(http.ResponseWriter, *http.Request) (any, error) {
	return func(w http.ResponseWriter, r *http.Request) (any, error) {
		var req joinRequest
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, callBytes)).Decode(&req); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", storage.ErrInvalid, name, err)
		}
		if req.ID == "" || req.ID == n.o.ID {
			return struct{}{}, do(n)
		}
		m, ok := n.member(req.ID)
		if !ok || r.Header.Get(handedOn) != "" {
			return nil, fmt.Errorf("%w: no node %s", storage.ErrNotFound, req.ID)
		}
		return struct{}{}, n.call(r.Context(), m.Node(), name, req, nil)
	}
}

// fetchIndex brings a copy of the index from another node.
func (n *Node) fetchIndex(ctx context.Context, least uint64) error {
	errs := []error{errors.New("no other node is known")}
	for _, m := range n.Members() {
		if m.ID == n.o.ID {
			continue
		}
		err := n.fetchFrom(ctx, m, least)
		if err == nil {
			return nil
		}
		errs = append(errs, fmt.Errorf("node %s: %w", m.ID, err))
	}
	return errors.Join(errs...)
}

func (n *Node) fetchFrom(ctx context.Context, m Member, least uint64) error {
	r, err := n.get(ctx, m.Node(), "index?least="+strconv.FormatUint(least, 10))
	if err != nil {
		return err
	}
	defer r.Body.Close()
	f, err := os.CreateTemp(n.o.Dir, "in.copy*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // unless it was moved
	_, err = io.Copy(f, r.Body)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if cluster, at, err := index.Peek(ctx, f.Name()); err != nil || cluster != n.cluster() || at < least {
		return fmt.Errorf("%w: the copy is of cluster %q and entry %d: %w", storage.ErrUnavailable, cluster, at, err)
	}
	return n.o.Index.Replace(ctx, f.Name())
}
