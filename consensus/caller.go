package consensus

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/esante-alsace/cigogne/consensus/peer"
	"github.com/esante-alsace/cigogne/storage"
)

// codes are the HTTP codes of the errors that nodes tell each other.
func codes() []struct {
	err  error
	code int
} {
	return []struct {
		err  error
		code int
	}{
		{storage.ErrFull, http.StatusInsufficientStorage},
		{storage.ErrInvalid, http.StatusBadRequest},
		{storage.ErrForbidden, http.StatusForbidden},
		{storage.ErrNotFound, http.StatusNotFound},
		{storage.ErrConflict, http.StatusConflict},
		{storage.ErrUnsupported, http.StatusNotImplemented},
		{storage.ErrUnavailable, http.StatusServiceUnavailable},
	}
}

// fail answers a call with an error.
func fail(w http.ResponseWriter, err error) {
	code := http.StatusInternalServerError
	for _, c := range codes() {
		if errors.Is(err, c.err) {
			code = c.code
			break
		}
	}
	http.Error(w, err.Error(), code)
}

// failed is the error of an answer.
func failed(r *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(r.Body, 4<<10)) // as much as there is
	for _, c := range codes() {
		if r.StatusCode == c.code {
			return &toldError{c.err, string(bytes.TrimSpace(text))}
		}
	}
	return &toldError{storage.ErrUnavailable, fmt.Sprintf("%s: %s", r.Status, bytes.TrimSpace(text))}
}

// toldError is an error that another node told, whose text begins with its
// kind already.
type toldError struct {
	kind error
	text string
}

func (e *toldError) Error() string { return e.text }
func (e *toldError) Unwrap() error { return e.kind }

// Client asks a node of a cluster, as an operator or as another node. What the
// node refuses has the node's own error; storage.ErrUnavailable is one that does
// not answer, or has nobody to ask who leads.
type Client struct {
	Dialer *peer.Dialer
	Node   peer.Node
}

// Overview is Node.Overview of the node.
func (c Client) Overview(ctx context.Context) ([]Status, error) {
	var out []Status
	err := c.do(ctx, http.MethodGet, "overview", nil, &out)
	return out, err
}

// Status is Node.Status of the node.
func (c Client) Status(ctx context.Context) (Status, error) {
	var s Status
	err := c.do(ctx, http.MethodGet, "status", nil, &s)
	return s, err
}

// Add takes a node in that was removed, or that waits.
func (c Client) Add(ctx context.Context, n peer.Node) error {
	return c.do(ctx, http.MethodPost, "add", joinRequest{ID: n.ID, Addr: n.Addr}, nil)
}

// Remove takes a node out for good.
func (c Client) Remove(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodPost, "remove", joinRequest{ID: id}, nil)
}

// Revoke takes a node out, if it is not out yet, and from then on no node lets
// in those of its certificates that were made before.
func (c Client) Revoke(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodPost, "remove", joinRequest{ID: id, Revoke: true}, nil)
}

// Transfer makes another node lead: the one named, or any.
func (c Client) Transfer(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodPost, "transfer", joinRequest{ID: id}, nil)
}

// Drain lets a node take nothing new, or again when on is false.
func (c Client) Drain(ctx context.Context, id string, on bool) error {
	name := "drain"
	if !on {
		name = "undrain"
	}
	return c.do(ctx, http.MethodPost, name, joinRequest{ID: id}, nil)
}

// do makes one call: in is sent and out read as JSON, unless they are nil; raw
// bytes are sent as they are.
func (c Client) do(ctx context.Context, method, name string, in, out any) error {
	return c.send(ctx, method, name, in, out, "")
}

func (c Client) send(ctx context.Context, method, name string, in, out any, by string) error {
	var body io.Reader
	switch v := in.(type) {
	case nil:
	case []byte:
		body = bytes.NewReader(v)
	default:
		b, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		body = bytes.NewReader(b)
	}
	r, err := c.ask(ctx, method, name, body, by)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if out == nil {
		_, err = io.Copy(io.Discard, io.LimitReader(r.Body, callBytes)) // so that the connection serves again
	} else {
		err = json.NewDecoder(io.LimitReader(r.Body, callBytes)).Decode(out)
	}
	if err != nil {
		return fmt.Errorf("%w: node %s: %w", storage.ErrUnavailable, c.Node.Addr, err)
	}
	return nil
}

// ask returns an answer of code 200; its body must be closed.
func (c Client) ask(ctx context.Context, method, name string, body io.Reader, by string) (*http.Response, error) {
	host := c.Node.ID
	if host == "" {
		host = c.Node.Addr
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+host+Path+name, body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", storage.ErrInvalid, err)
	}
	if by != "" {
		req.Header.Set(handedOn, by)
	}
	r, err := c.Dialer.Client(c.Node).Do(req)
	if err != nil {
		// Others that are kept may have died with it, and say nothing.
		c.Dialer.Client(c.Node).CloseIdleConnections()
		var asked *url.Error
		if errors.As(err, &asked) {
			err = asked.Err // the node is named, and this URL is no one's to open
		}
		if errors.Is(err, storage.ErrForbidden) || errors.Is(err, storage.ErrUnavailable) {
			return nil, err // it is Dial's, which names the node
		}
		return nil, fmt.Errorf("%w: node %s: %w", storage.ErrUnavailable, c.Node.Addr, err)
	}
	if r.StatusCode != http.StatusOK {
		defer r.Body.Close()
		return nil, failed(r)
	}
	return r, nil
}

func (n *Node) client(at peer.Node) Client { return Client{Dialer: n.o.Dialer, Node: at} }

// call hands something on to another node.
func (n *Node) call(ctx context.Context, at peer.Node, name string, in, out any) error {
	by := n.o.ID
	if name == "join" && at.ID == "" {
		by = "" // it is this node that asks
	}
	return n.client(at).send(ctx, http.MethodPost, name, in, out, by)
}

func (n *Node) get(ctx context.Context, at peer.Node, name string) (*http.Response, error) {
	return n.client(at).ask(ctx, http.MethodGet, name, nil, "")
}

func (n *Node) statusOf(ctx context.Context, m Member) (Status, error) {
	return n.client(m.Node()).Status(ctx)
}

// forward brings an entry to the leader. When another node is elected it gives
// up at once: the leader that was may never answer.
func (n *Node) forward(ctx context.Context, entry []byte) (uint64, error) {
	var p place
	err := n.toLeader(ctx, http.MethodPost, "propose", entry, &p)
	return p.At, err
}

// askCommitted asks the leader what is committed.
func (n *Node) askCommitted(ctx context.Context) (uint64, error) {
	var p place
	err := n.toLeader(ctx, http.MethodGet, "committed", nil, &p)
	return p.At, err
}

func (n *Node) toLeader(ctx context.Context, method, name string, in, out any) error {
	elected := n.elected.next()
	l, ok := n.Leader()
	if !ok || l.ID == n.o.ID {
		return errNoLeader
	}
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	n.begin(func() {
		select {
		case <-elected:
			cancel()
		case <-ctx.Done():
		}
	})
	err := n.client(l.Node()).do(ctx, method, name, in, out)
	if errors.Is(err, storage.ErrForbidden) {
		// This node's certificate or the leader's is refused, not who asks this node.
		return fmt.Errorf("%w: the leader and this node do not let each other in: %s", storage.ErrUnavailable, err.Error())
	}
	return err
}

// errNoLeader: no node leads, as far as this one knows.
var errNoLeader = fmt.Errorf("%w: there is no leader now", storage.ErrUnavailable)
