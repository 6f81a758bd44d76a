package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/esante-alsace/cigogne/cmd/cigogne/client"
	pb "github.com/esante-alsace/cigogne/gateway/rpc/cigogne/v1"
)

type publicationsCommand struct {
	List  publicationsListCommand  `cmd:"" help:"List studies that are to be published, replaced or withdrawn, and those that were refused."`
	Show  publicationsShowCommand  `cmd:"" help:"Show a study's place in the shared record."`
	Retry publicationsRetryCommand `cmd:"" help:"Try again now, also what was refused."`
}

// publicationsPath is where the API tells what becomes of publications.
const publicationsPath = "/v1/publications"

type publicationsListCommand struct{ overseer }

// Run lists publications.
func (l *publicationsListCommand) Run(ctx context.Context, c console) error {
	all := &pb.PublicationsListResponse{}
	return l.ask(c, func(g *client.Client, _ string) (any, error) {
		for token := ""; ; {
			text, err := g.API(ctx, publicationsPath+"?"+url.Values{"pageSize": {"1000"}, "pageToken": {token}}.Encode())
			if err != nil {
				return nil, err
			}
			page := &pb.PublicationsListResponse{}
			if err := understand(text, page); err != nil {
				return nil, err
			}
			all.Publications = append(all.Publications, page.Publications...)
			if token = page.NextPageToken; token == "" {
				text, err := protojson.Marshal(all)
				return json.RawMessage(text), err
			}
		}
	}, func(w io.Writer) { writePublications(w, all.Publications...) })
}

// understand reads an answer of the API, also of a gateway that says more than
// is known here.
func understand(text []byte, into proto.Message) error {
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(text, into); err != nil {
		return fmt.Errorf("the gateway's answer: %w", err)
	}
	return nil
}

func writePublications(w io.Writer, all ...*pb.Publication) {
	fmt.Fprintln(w, "STUDY\tSTATE\tNEXT\tATTEMPTS\tDUE\tWHY")
	for _, p := range all {
		due := ""
		if p.Due != nil && p.State == pb.PublicationState_PUBLICATION_STATE_FAILING {
			due = p.Due.AsTime().Format(time.RFC3339)
		}
		state, next := "", ""
		if p.State != 0 {
			state = strings.ToLower(strings.TrimPrefix(p.State.String(), "PUBLICATION_STATE_"))
		}
		if p.Next != 0 {
			next = strings.ToLower(strings.TrimPrefix(p.Next.String(), "PUBLICATION_ACT_"))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%q\n", p.StudyInstanceUid, state, next, p.Attempts, due, p.Trouble)
	}
}

// publishedStudy is one study.
type publishedStudy struct {
	overseer
	Study string `arg:"" help:"StudyInstanceUID."`
}

func (s *publishedStudy) tell(c console, send func(g *client.Client, who string) (json.RawMessage, error)) error {
	p := &pb.PublicationsGetResponse{}
	return s.ask(c, func(g *client.Client, who string) (any, error) {
		text, err := send(g, who)
		if err != nil {
			return nil, err
		}
		return text, understand(text, p) // what Retry answers has the same form
	}, func(w io.Writer) { writePublications(w, p.Publication) })
}

type publicationsShowCommand struct{ publishedStudy }

// Run shows a study's place.
func (s *publicationsShowCommand) Run(ctx context.Context, c console) error {
	return s.tell(c, func(g *client.Client, _ string) (json.RawMessage, error) {
		return g.API(ctx, publicationsPath+"/"+url.PathEscape(s.Study))
	})
}

type publicationsRetryCommand struct{ publishedStudy }

// Run has a study seen to.
func (r *publicationsRetryCommand) Run(ctx context.Context, c console) error {
	return r.tell(c, func(g *client.Client, who string) (json.RawMessage, error) {
		return g.Call(ctx, publicationsPath+"/"+url.PathEscape(r.Study)+":retry", map[string]string{"by": who})
	})
}
