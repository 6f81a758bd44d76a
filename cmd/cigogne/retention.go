package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/dustin/go-humanize/english"

	"github.com/esante-alsace/cigogne/gateway/custody"
)

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
