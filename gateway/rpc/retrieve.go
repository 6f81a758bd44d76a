package rpc

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"google.golang.org/grpc"

	"github.com/esante-alsace/cigogne/gateway"
	pb "github.com/esante-alsace/cigogne/gateway/rpc/cigogne/v1"
	"github.com/esante-alsace/cigogne/storage"
)

const (
	// chunkBytes is the most bytes of one message.
	chunkBytes = 256 << 10
	// retrieveMost bounds the instances that are named.
	retrieveMost = 10_000
)

// Retrieve implements pb.StudiesServer.
func (s *studies) Retrieve(req *pb.StudiesRetrieveRequest, to grpc.ServerStreamingServer[pb.StudiesRetrieveResponse]) error {
	if len(req.SopInstanceUids) > retrieveMost {
		return inField("sop_instance_uids", fmt.Errorf("%w: more than %d instances", storage.ErrInvalid, retrieveMost))
	}
	found, err := s.instances(to.Context(), req.StudyInstanceUid, req.SeriesInstanceUid)
	if err != nil {
		return err
	}
	if found, err = chosen(found, req); err != nil {
		return err
	}
	// The bytes are copied as they are sent, so one buffer will do.
	buffer := make([]byte, chunkBytes)
	for i, in := range gateway.InOrder(to.Context(), found) {
		var offset int64
		if i == 0 {
			offset = req.ResumeOffset
		}
		began := time.Now()
		sent, err := sendInstance(in, offset, buffer, to)
		if about := in.About(); s.server.Sent != nil && (err == nil || sent > 0) {
			told := gateway.Sending{
				To:    storage.Origin{Transport: "grpc", RemoteAddr: callerHost(to.Context())},
				Study: about.Key.StudyInstanceUID, Series: about.Key.SeriesInstanceUID, Bytes: sent, Began: began, Cut: err != nil,
			}
			if err == nil {
				told.Instances = 1
			}
			s.server.Sent.Sent(told)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// chosen are the instances to send, in their order.
func chosen(found []gateway.Instance, req *pb.StudiesRetrieveRequest) ([]gateway.Instance, error) {
	if len(req.SopInstanceUids) > 0 {
		by := make(map[string]gateway.Instance, len(found))
		for _, in := range found {
			by[in.About().Key.SOPInstanceUID] = in
		}
		named := make([]gateway.Instance, len(req.SopInstanceUids))
		for i, sop := range req.SopInstanceUids {
			if named[i] = by[sop]; named[i] == nil {
				return nil, inField("sop_instance_uids", fmt.Errorf("%w: instance %d of those that are named", storage.ErrNotFound, i))
			}
		}
		found = named
	}
	if req.ResumeSopInstanceUid != "" {
		at := slices.IndexFunc(found, func(in gateway.Instance) bool {
			return in.About().Key.SOPInstanceUID == req.ResumeSopInstanceUid
		})
		if at < 0 {
			return nil, inField("resume_sop_instance_uid", fmt.Errorf("%w: the instance to go on with", storage.ErrNotFound))
		}
		found = found[at:]
	}
	if size := found[0].About().Size; req.ResumeOffset < 0 || req.ResumeOffset > size {
		return nil, inField("resume_offset", fmt.Errorf("%w: the instance has %d bytes", storage.ErrInvalid, size))
	}
	return found, nil
}

// sendInstance sends the head of an instance and its bytes from offset on, and
// tells how many of them it did.
func sendInstance(in gateway.Instance, offset int64, buffer []byte, to grpc.ServerStreamingServer[pb.StudiesRetrieveResponse]) (sent int64, err error) {
	about := in.About()
	head := &pb.StudiesRetrieveResponse{Part: &pb.StudiesRetrieveResponse_Instance{Instance: instanceOf(about)}}
	if err := to.Send(head); err != nil {
		return 0, err
	}
	if offset == about.Size {
		return 0, nil
	}
	body, err := in.Open(to.Context(), storage.Range{Offset: offset, Length: about.Size - offset})
	if err != nil {
		return 0, err
	}
	defer body.Close()
	for left := about.Size - offset; left > 0; {
		n, err := io.ReadFull(body, buffer[:min(left, chunkBytes)])
		if err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				err = fmt.Errorf("%w: instance %s ends %d bytes early", storage.ErrCorrupt, about.Key.SOPInstanceUID, left-int64(n))
			}
			return sent, err
		}
		chunk := &pb.StudiesRetrieveResponse{Part: &pb.StudiesRetrieveResponse_Chunk{Chunk: buffer[:n]}}
		if err := to.Send(chunk); err != nil {
			return sent, err
		}
		left -= int64(n)
		sent += int64(n)
	}
	return sent, nil
}
