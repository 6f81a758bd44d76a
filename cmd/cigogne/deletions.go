package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/dustin/go-humanize/english"

	"github.com/esante-alsace/cigogne/cmd/cigogne/client"
	"github.com/esante-alsace/cigogne/gateway/custody"
)

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
