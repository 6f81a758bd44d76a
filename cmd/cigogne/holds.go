package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/dustin/go-humanize/english"

	"github.com/esante-alsace/cigogne/cmd/cigogne/client"
	"github.com/esante-alsace/cigogne/gateway/custody"
)

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
