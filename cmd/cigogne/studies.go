package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/esante-alsace/cigogne/cmd/cigogne/progress"
	pb "github.com/esante-alsace/cigogne/gateway/rpc/cigogne/v1"
	"github.com/esante-alsace/cigogne/storage"
)

type studiesCommand struct {
	Timeline timelineCommand `cmd:"" help:"Tell what happened to a study: from whom it came, when it was durable, indexed and archived, who fetched it."`
}

type timelineCommand struct {
	remote
	JSON  bool   `name:"json" help:"Write the API's answer as JSON."`
	Study string `arg:"" placeholder:"UID" help:"StudyInstanceUID."`
}

// Validate implements kong's validation hook.
func (t *timelineCommand) Validate() error {
	if !storage.ValidUID(t.Study) {
		return fmt.Errorf("%w: %q is not a UID", errUsage, t.Study)
	}
	return nil
}

// Run asks for the timeline and prints it.
func (t *timelineCommand) Run(ctx context.Context, c console) error {
	ctx, cancel := context.WithTimeout(ctx, findTimeout)
	defer cancel()
	gateway, err := t.open(1, findTimeout)
	if err != nil {
		return err
	}
	defer gateway.Close()
	text, err := gateway.API(ctx, "/v1/studies/"+t.Study+"/timeline")
	if err != nil {
		return fmt.Errorf("timeline of study %s at %s: %w", t.Study, gateway, err)
	}
	if t.JSON {
		_, err := fmt.Fprintf(c.out, "%s\n", text)
		return err
	}
	var timeline pb.StudiesTimelineResponse
	if err := understand(text, &timeline); err != nil {
		return err
	}
	return writeTimeline(c.out, &timeline)
}

// writeTimeline writes a line for each step, series by series.
func writeTimeline(out io.Writer, timeline *pb.StudiesTimelineResponse) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, series := range timeline.Series {
		head := "study"
		if series.SeriesInstanceUid != "" {
			head = "series " + series.SeriesInstanceUid
		}
		fmt.Fprintln(w, progress.Printable(head))
		for _, s := range series.Steps {
			cells := []string{
				"  " + clock(s.First) + until(s), strings.ToLower(strings.TrimPrefix(s.Kind.String(), "STEP_KIND_")),
				humanize.Comma(s.Instances), humanize.Bytes(uint64(max(0, s.Bytes))), rate(s), nodesOf(s), whereTo(s),
			}
			for i, cell := range cells {
				cells[i] = progress.Printable(cell)
			}
			fmt.Fprintln(w, strings.Join(cells, "\t"))
		}
	}
	return w.Flush()
}

func clock(at *timestamppb.Timestamp) string {
	return at.AsTime().Local().Format("2006-01-02 15:04:05.000")
}

// until is how long a step took, when it took any time.
func until(s *pb.Step) string {
	d := s.Last.AsTime().Sub(s.First.AsTime())
	if d <= 0 {
		return ""
	}
	return " +" + d.Round(time.Millisecond).String()
}

func rate(s *pb.Step) string {
	if s.BytesPerSecond <= 0 {
		return ""
	}
	return humanize.Bytes(uint64(s.BytesPerSecond)) + "/s"
}

// nodesOf are the nodes that held what the step is of or, where that is not
// told, the one at which it happened.
func nodesOf(s *pb.Step) string {
	if len(s.Nodes) > 0 {
		return strings.Join(s.Nodes, ",")
	}
	return s.Node
}

// whereTo is the archive, or who is at the other end and by which way.
func whereTo(s *pb.Step) string {
	parts := []string{s.Archive}
	if o := s.Origin; o != nil {
		parts = append(parts, o.Transport, o.CallingAeTitle, o.RemoteAddr, o.Id)
	}
	if s.Others > 0 {
		parts = append(parts, "and "+english.Plural(int(s.Others), "other", ""))
	}
	return strings.Join(strings.Fields(strings.Join(parts, " ")), " ")
}
