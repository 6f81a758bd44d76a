package main

import (
	"context"
	"encoding/json"
	"io"
	"net/url"
	"os"
	"os/user"
	"text/tabwriter"
	"time"

	"github.com/esante-alsace/cigogne/cmd/cigogne/client"
)

// overseer is what the commands have in common by which an operator says what
// is kept and what is deleted.
type overseer struct {
	remote
	Who  string `placeholder:"NAME" help:"Who asks, for the record; you by default."`
	JSON bool   `name:"json" help:"Write the answer as JSON."`
}

// because is why something is changed.
type because struct {
	Reason string `short:"r" required:"" placeholder:"TEXT" help:"Why, for the record; no names of patients."`
}

// askStall bounds one request.
const askStall = 30 * time.Second

// ask sends one request, and shows the answer.
func (o *overseer) ask(c console, send func(*client.Client, string) (any, error), show func(io.Writer)) error {
	gateway, err := o.open(1, askStall)
	if err != nil {
		return err
	}
	defer gateway.Close()
	answer, err := send(gateway, o.who())
	if err != nil {
		return err
	}
	if o.JSON {
		e := json.NewEncoder(c.out)
		e.SetIndent("", "  ")
		return e.Encode(answer)
	}
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	show(w)
	return w.Flush()
}

// custody asks the gateway's custody.
func (o *overseer) custody(ctx context.Context, c console, method, resource string, query url.Values, into any, show func(io.Writer)) error {
	return o.ask(c, func(g *client.Client, who string) (any, error) {
		return into, g.Custody(ctx, method, resource, query, who, into)
	}, show)
}

func (o *overseer) who() string {
	if o.Who != "" {
		return o.Who
	}
	name := "somebody"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name
}

func (b because) query() url.Values { return url.Values{"reason": {b.Reason}} }

func studyPath(study string) string { return "/studies/" + url.PathEscape(study) }
