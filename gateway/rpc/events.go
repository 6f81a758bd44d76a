package rpc

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/esante-alsace/cigogne/gateway/rpc/cigogne/v1"
	"github.com/esante-alsace/cigogne/storage"
	"github.com/esante-alsace/cigogne/storage/index"
)

const (
	usualEvents = 1000
	// watchEvents is the most events of one message, and watchPause the least
	// time between two looks of one watcher: what comes meanwhile comes
	// together, so that many watchers cost the index little.
	watchEvents = 1000
	watchPause  = 20 * time.Millisecond
)

// events is the service Events.
type events struct {
	pb.UnimplementedEventsServer
	server *Server
	tail   *tail
}

// Watch implements pb.EventsServer. Nothing is held for a watcher but the
// number of its last event: one that is slow falls behind in the feed, and
// hears so when that has moved past it.
func (e *events) Watch(req *pb.EventsWatchRequest, to grpc.ServerStreamingServer[pb.EventsWatchResponse]) error {
	ctx, after := to.Context(), req.AfterSequence
	if after < 0 {
		return errAfter(after)
	}
	for first := true; ; first = false {
		list, more, err := e.tail.after(ctx, after, watchEvents)
		if err != nil {
			return err
		}
		if len(list) > 0 || first {
			if err := to.Send(&pb.EventsWatchResponse{Events: list}); err != nil {
				return err
			}
		}
		if len(list) > 0 {
			after = list[len(list)-1].Sequence
		}
		if len(list) == watchEvents {
			continue
		}
		if err := e.await(more, to); err != nil {
			return err
		}
		if err := pause(ctx, watchPause); err != nil {
			return err
		}
	}
}

// await waits until more is closed, and says meanwhile that there is nothing.
func (e *events) await(more <-chan struct{}, to grpc.ServerStreamingServer[pb.EventsWatchResponse]) error {
	beat := time.NewTicker(e.server.Limits.Beat)
	defer beat.Stop()
	for {
		select {
		case <-to.Context().Done():
			return to.Context().Err()
		case <-more:
			return nil
		case <-beat.C:
			if err := to.Send(&pb.EventsWatchResponse{}); err != nil {
				return err
			}
		}
	}
}

func errAfter(after int64) error {
	return inField("after_sequence", fmt.Errorf("%w: after_sequence %d is below 0", storage.ErrInvalid, after))
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// List implements pb.EventsServer.
func (e *events) List(ctx context.Context, req *pb.EventsListRequest) (*pb.EventsListResponse, error) {
	size, err := pageSize(req.PageSize, usualEvents)
	if err != nil {
		return nil, err
	}
	if req.AfterSequence < 0 {
		return nil, errAfter(req.AfterSequence)
	}
	list, err := e.server.History.Events(ctx, req.AfterSequence, size)
	if err != nil {
		return nil, err
	}
	answer, bytes := &pb.EventsListResponse{}, 0
	for _, one := range eventsOf(list) {
		if bytes += proto.Size(one) + frameBytes; bytes > e.server.Limits.MaxPage {
			break
		}
		answer.Events = append(answer.Events, one)
	}
	return answer, nil
}

// Position implements pb.EventsServer.
func (e *events) Position(ctx context.Context, _ *pb.EventsPositionRequest) (*pb.EventsPositionResponse, error) {
	first, last, err := e.server.History.Feed(ctx)
	if err != nil {
		return nil, err
	}
	return &pb.EventsPositionResponse{FirstSequence: first, LastSequence: last}, nil
}

func eventsOf(list []index.Event) []*pb.Event {
	out := make([]*pb.Event, len(list))
	for i := range list {
		e := &list[i]
		out[i] = &pb.Event{
			Sequence:          e.Sequence,
			Kind:              eventKind(e.Kind),
			Time:              timeOf(e.At),
			Node:              e.Node,
			StudyInstanceUid:  e.StudyInstanceUID,
			SeriesInstanceUid: e.SeriesInstanceUID,
			Instances:         e.Instances,
			Bytes:             e.Bytes,
			Origin:            originOf(e.Origin),
			Archive:           e.Archive,
			PackId:            e.PackID,
			DeletionId:        e.DeletionID,
			Version:           e.Version,
			IdentityChange:    e.IdentityChange,
		}
	}
	return out
}

func eventKind(k index.EventKind) pb.EventKind {
	switch k {
	case index.EventReceived:
		return pb.EventKind_EVENT_KIND_RECEIVED
	case index.EventKeptAside:
		return pb.EventKind_EVENT_KIND_KEPT_ASIDE
	case index.EventArchived:
		return pb.EventKind_EVENT_KIND_ARCHIVED
	case index.EventRetrieved:
		return pb.EventKind_EVENT_KIND_RETRIEVED
	case index.EventCut:
		return pb.EventKind_EVENT_KIND_CUT
	case index.EventCommitted:
		return pb.EventKind_EVENT_KIND_COMMITTED
	case index.EventDeleted:
		return pb.EventKind_EVENT_KIND_DELETED
	case index.EventRestored:
		return pb.EventKind_EVENT_KIND_RESTORED
	case index.EventRemoved:
		return pb.EventKind_EVENT_KIND_REMOVED
	case index.EventComplete:
		return pb.EventKind_EVENT_KIND_COMPLETE
	case index.EventPublished:
		return pb.EventKind_EVENT_KIND_PUBLISHED
	case index.EventWithdrawn:
		return pb.EventKind_EVENT_KIND_WITHDRAWN
	case index.EventIdentity:
		return pb.EventKind_EVENT_KIND_IDENTITY
	}
	return pb.EventKind_EVENT_KIND_UNSPECIFIED
}

// originOf is whence an instance came. What a sender calls itself may be no
// text in what earlier versions received: one byte of it would keep a whole
// answer from everybody.
func originOf(o storage.Origin) *pb.Origin {
	if o == (storage.Origin{}) {
		return nil
	}
	return &pb.Origin{
		Transport: o.Transport, CallingAeTitle: text(o.CallingAETitle), CalledAeTitle: text(o.CalledAETitle), RemoteAddr: o.RemoteAddr, Id: o.ID,
	}
}

// text is s with U+FFFD in place of what is no UTF-8.
func text(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// timeOf is a time of the index; 0 is none.
func timeOf(unixNano int64) *timestamppb.Timestamp {
	if unixNano == 0 {
		return nil
	}
	return timestamppb.New(time.Unix(0, unixNano))
}
