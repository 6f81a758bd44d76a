package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/esante-alsace/cigogne/cmd/cigogne/client"
	"github.com/esante-alsace/cigogne/gateway/dmp/publication"
)

type publicationsCommand struct {
	List  publicationsListCommand  `cmd:"" help:"List studies that are to be published, replaced or withdrawn, and those that were refused."`
	Show  publicationsShowCommand  `cmd:"" help:"Show a study's place in the shared record."`
	Retry publicationsRetryCommand `cmd:"" help:"Try again now, also what was refused."`
}

type publicationsListCommand struct{ overseer }

// Run lists publications.
func (l *publicationsListCommand) Run(ctx context.Context, c console) error {
	var all []publication.Published
	return l.ask(c, func(g *client.Client, who string) (any, error) {
		for after := ""; ; {
			var page []publication.Published
			err := g.Publications(ctx, http.MethodGet, "/", url.Values{"after": {after}}, who, &page)
			if err != nil || len(page) == 0 {
				return all, err
			}
			all = append(all, page...)
			after = page[len(page)-1].StudyInstanceUID
		}
	}, func(w io.Writer) { writePublications(w, all) })
}

func writePublications(w io.Writer, all []publication.Published) {
	fmt.Fprintln(w, "STUDY\tSTATE\tNEXT\tATTEMPTS\tDUE\tWHY")
	for _, p := range all {
		due := ""
		if p.Due != nil && p.State == "failing" {
			due = p.Due.Format(time.RFC3339)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%q\n", p.StudyInstanceUID, p.State, p.Next, p.Attempts, due, p.Trouble)
	}
}

// publishedStudy is one study.
type publishedStudy struct {
	overseer
	Study string `arg:"" help:"StudyInstanceUID."`
}

func (s *publishedStudy) send(ctx context.Context, c console, method string) error {
	var p publication.Published
	return s.ask(c, func(g *client.Client, who string) (any, error) {
		return &p, g.Publications(ctx, method, "/"+url.PathEscape(s.Study), nil, who, &p)
	}, func(w io.Writer) { writePublications(w, []publication.Published{p}) })
}

type publicationsShowCommand struct{ publishedStudy }

// Run shows a study's place.
func (s *publicationsShowCommand) Run(ctx context.Context, c console) error {
	return s.send(ctx, c, http.MethodGet)
}

type publicationsRetryCommand struct{ publishedStudy }

// Run has a study seen to.
func (r *publicationsRetryCommand) Run(ctx context.Context, c console) error {
	return r.send(ctx, c, http.MethodPut)
}
