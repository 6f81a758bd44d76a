package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/user"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize/english"

	"github.com/esante-alsace/cigogne/cmd/cigogne/client"
	"github.com/esante-alsace/cigogne/gateway/custody"
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

type deleteCommand struct {
	overseer
	because
	Study  string `arg:"" help:"StudyInstanceUID."`
	Series string `arg:"" optional:"" help:"SeriesInstanceUID, for one series alone."`
}

// Help tells what flags cannot.
func (*deleteCommand) Help() string {
	return `The gateway must allow it ('cigogne serve --allow-delete'). What is deleted is not found from then on; until the time of grace is over it can be put back ('cigogne deletions undo'), then it is removed from every archive. A hold, and retention (20 years unless set otherwise), keep a study from being deleted.`
}

// Run deletes.
func (d *deleteCommand) Run(ctx context.Context, c console) error {
	resource := studyPath(d.Study)
	if d.Series != "" {
		resource += "/series/" + url.PathEscape(d.Series)
	}
	var done struct {
		ID        string    `json:"id"`
		Instances int64     `json:"instances"`
		UndoUntil time.Time `json:"undoUntil"`
	}
	return d.ask(c, func(g *client.Client, who string) (any, error) {
		return &done, g.Delete(ctx, resource, d.query(), who, &done)
	}, func(w io.Writer) {
		if done.ID == "" {
			fmt.Fprintln(w, "it was deleted before, and is not removed yet: see 'cigogne deletions list'")
			return
		}
		fmt.Fprintf(w, "deleted %s; until %s: cigogne deletions undo %s\n",
			english.Plural(int(done.Instances), "instance", ""), done.UndoUntil.Format(time.RFC3339), done.ID)
	})
}

type deletionsCommand struct {
	List deletionsListCommand `cmd:"" help:"List deletions, the last changed at the end."`
	Undo deletionsUndoCommand `cmd:"" help:"Put back what was deleted, while that can be."`
}

type deletionsListCommand struct{ overseer }

// Run lists deletions.
func (l *deletionsListCommand) Run(ctx context.Context, c console) error {
	var all []custody.Deletion
	return l.ask(c, func(g *client.Client, who string) (any, error) {
		for after := int64(0); ; {
			var page []custody.Deletion
			err := g.Custody(ctx, http.MethodGet, "/deletions", url.Values{"after": {strconv.FormatInt(after, 10)}}, who, &page)
			if err != nil || len(page) == 0 {
				return all, err
			}
			all = append(all, page...)
			after = page[len(page)-1].Revision
		}
	}, func(w io.Writer) {
		fmt.Fprintln(w, "ID\tSTATE\tSTUDY\tSERIES\tINSTANCES\tBY\tWHY\tNEXT")
		for _, d := range all {
			series := d.SeriesInstanceUID
			if series == "" {
				series = "all " + strconv.FormatInt(d.Series, 10)
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n", d.ID, d.State, d.StudyInstanceUID, series, d.Instances, d.Marked.By, d.Marked.Why, next(d))
		}
	})
}

// next is what a deletion waits for.
func next(d custody.Deletion) string {
	switch {
	case d.Trouble != nil:
		return fmt.Sprintf("fails since %s: %s", d.Trouble.Since.Format(time.RFC3339), d.Trouble.Why)
	case d.KeptBy != nil:
		return "kept: " + kept(*d.KeptBy)
	case d.State == "marked":
		return "removed after " + d.UndoUntil.Format(time.RFC3339)
	case d.Shared > 0:
		return fmt.Sprintf("%s left, %d for instances that are kept aside", english.Plural(d.Left, "pack is", "packs are"), d.Shared)
	case d.Left > 0:
		return english.Plural(d.Left, "pack is", "packs are") + " left"
	}
	return ""
}

type deletionsUndoCommand struct {
	overseer
	because
	ID string `arg:"" help:"The deletion's ID."`
}

// Run undoes a deletion.
func (u *deletionsUndoCommand) Run(ctx context.Context, c console) error {
	var d custody.Deletion
	return u.custody(ctx, c, http.MethodDelete, "/deletions/"+url.PathEscape(u.ID), u.query(), &d, func(w io.Writer) {
		fmt.Fprintf(w, "study %s has %s back\n", d.StudyInstanceUID, english.Plural(int(d.Instances), "instance", ""))
	})
}

type holdsCommand struct {
	List  holdsListCommand  `cmd:"" help:"List the studies that are held."`
	Set   holdsSetCommand   `cmd:"" help:"Keep a study, whatever its age."`
	Clear holdsClearCommand `cmd:"" help:"End a hold."`
}

type holdsListCommand struct{ overseer }

// Run lists holds.
func (l *holdsListCommand) Run(ctx context.Context, c console) error {
	var all []custody.Holds
	return l.ask(c, func(g *client.Client, who string) (any, error) {
		for after := ""; ; {
			var page []custody.Holds
			err := g.Custody(ctx, http.MethodGet, "/holds", url.Values{"after": {after}}, who, &page)
			if err != nil || len(page) == 0 {
				return all, err
			}
			all = append(all, page...)
			after = page[len(page)-1].StudyInstanceUID
		}
	}, func(w io.Writer) {
		fmt.Fprintln(w, "STUDY\tHOLD\tSINCE\tBY\tWHY")
		for _, s := range all {
			for _, h := range s.Holds {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", s.StudyInstanceUID, h.Name, h.At.Format(time.RFC3339), h.By, h.Why)
			}
		}
	})
}

// held names a hold of a study.
type held struct {
	overseer
	because
	Study string `arg:"" help:"StudyInstanceUID."`
	Hold  string `arg:"" help:"Name of the hold, such as the number of a case."`
}

func (h *held) change(ctx context.Context, c console, method string) error {
	var k custody.Kept
	return h.custody(ctx, c, method, studyPath(h.Study)+"/holds/"+url.PathEscape(h.Hold), h.query(), &k, func(w io.Writer) {
		fmt.Fprintln(w, kept(k))
	})
}

type holdsSetCommand struct{ held }

// Run sets a hold.
func (s *holdsSetCommand) Run(ctx context.Context, c console) error {
	return s.change(ctx, c, http.MethodPut)
}

type holdsClearCommand struct{ held }

// Run ends a hold.
func (s *holdsClearCommand) Run(ctx context.Context, c console) error {
	return s.change(ctx, c, http.MethodDelete)
}

// kept says what keeps a study.
func kept(k custody.Kept) string {
	var why []string
	for _, h := range k.Holds {
		why = append(why, fmt.Sprintf("hold %q since %s", h.Name, h.At.Format(time.DateOnly)))
	}
	switch {
	case k.Retention == nil:
		why = append(why, "no retention")
	case k.Retention.Until == nil:
		why = append(why, "kept for ever")
	default:
		why = append(why, fmt.Sprintf("%s from %s, until %s", english.Plural(k.Retention.Years, "year", ""), k.Retention.From, k.Retention.Until.Format(time.DateOnly)))
	}
	return strings.Join(why, ", ")
}

type retentionCommand struct {
	Show  retentionShowCommand  `cmd:"" help:"Show for how long a study is kept, or studies in general."`
	Set   retentionSetCommand   `cmd:"" help:"Set for how many years a study is kept, or studies in general."`
	Clear retentionClearCommand `cmd:"" help:"Leave a study to the years of all, or those to the default."`
}

// retained is a study, or all of them.
type retained struct {
	overseer
	Study string `placeholder:"UID" help:"StudyInstanceUID; without it, all studies that have no years of their own."`
}

func (r *retained) send(ctx context.Context, c console, method string, query url.Values) error {
	if r.Study == "" {
		var all struct {
			Years int `json:"years"`
		}
		return r.custody(ctx, c, method, "/retention", query, &all, func(w io.Writer) {
			fmt.Fprintf(w, "studies are kept for %s\n", english.Plural(all.Years, "year", ""))
		})
	}
	resource := studyPath(r.Study)
	if method != http.MethodGet {
		resource += "/retention"
	}
	var k custody.Kept
	return r.custody(ctx, c, method, resource, query, &k, func(w io.Writer) { fmt.Fprintln(w, kept(k)) })
}

type retentionShowCommand struct{ retained }

// Run shows retention.
func (r *retentionShowCommand) Run(ctx context.Context, c console) error {
	return r.send(ctx, c, http.MethodGet, nil)
}

type retentionSetCommand struct {
	retained
	because
	Years int `arg:"" help:"Years from the date of the study; 0 for none."`
}

// Run sets retention.
func (r *retentionSetCommand) Run(ctx context.Context, c console) error {
	q := r.query()
	q.Set("years", strconv.Itoa(r.Years))
	return r.send(ctx, c, http.MethodPut, q)
}

type retentionClearCommand struct {
	retained
	because
}

// Run clears retention.
func (r *retentionClearCommand) Run(ctx context.Context, c console) error {
	return r.send(ctx, c, http.MethodDelete, r.query())
}
