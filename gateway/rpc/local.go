package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// local calls the services of this process, with the same interceptors in
// front as over the network. REST goes through it: messages are handed over
// as they are, and the context of the HTTP request is that of the call.
//
// A message that was handed over belongs to who received it.
type local struct {
	unary   grpc.UnaryServerInterceptor
	stream  grpc.StreamServerInterceptor
	methods map[string]localMethod
	calls   sync.WaitGroup // of streams
}

var _ grpc.ClientConnInterface = (*local)(nil)

type localMethod struct {
	impl   any
	unary  *grpc.MethodDesc
	stream *grpc.StreamDesc
}

// RegisterService implements grpc.ServiceRegistrar.
func (l *local) RegisterService(d *grpc.ServiceDesc, impl any) {
	for i := range d.Methods {
		l.methods["/"+d.ServiceName+"/"+d.Methods[i].MethodName] = localMethod{impl: impl, unary: &d.Methods[i]}
	}
	for i := range d.Streams {
		l.methods["/"+d.ServiceName+"/"+d.Streams[i].StreamName] = localMethod{impl: impl, stream: &d.Streams[i]}
	}
}

// Invoke implements grpc.ClientConnInterface.
func (l *local) Invoke(ctx context.Context, method string, args, reply any, _ ...grpc.CallOption) error {
	m, ok := l.methods[method]
	if !ok || m.unary == nil {
		return status.Errorf(codes.Unimplemented, "no method %s", method)
	}
	out, err := m.unary.Handler(m.impl, ctx, func(to any) error { return handOver(to, args) }, l.unary)
	if err != nil {
		return err
	}
	return handOver(reply, out)
}

// handOver makes one message the other, without a copy of the lists and the
// messages in it.
func handOver(to, from any) error {
	t, tok := to.(proto.Message)
	f, fok := from.(proto.Message)
	if !tok || !fok || t.ProtoReflect().Descriptor() != f.ProtoReflect().Descriptor() {
		return fmt.Errorf("message of kind %T, not %T", from, to)
	}
	proto.Reset(t)
	into := t.ProtoReflect()
	f.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		into.Set(field, v)
		return true
	})
	return nil
}

// NewStream implements grpc.ClientConnInterface. The call ends with ctx.
func (l *local) NewStream(ctx context.Context, _ *grpc.StreamDesc, method string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	m, ok := l.methods[method]
	if !ok || m.stream == nil {
		return nil, status.Errorf(codes.Unimplemented, "no method %s", method)
	}
	p := &pipe{ctx: ctx, requests: make(chan any, 1), answers: make(chan any), done: make(chan struct{})}
	info := &grpc.StreamServerInfo{FullMethod: method, IsClientStream: m.stream.ClientStreams, IsServerStream: m.stream.ServerStreams}
	l.calls.Go(func() {
		defer close(p.done)
		p.err = l.stream(m.impl, serverEnd{p}, info, m.stream.Handler)
	})
	return clientEnd{p}, nil
}

// pipe is a stream of one request and many answers.
type pipe struct {
	ctx      context.Context //nolint:containedctx // it is what both ends are asked for
	requests chan any
	answers  chan any
	done     chan struct{}
	err      error // of the handler; read after done is closed
}

func (p *pipe) Context() context.Context { return p.ctx }

type serverEnd struct{ *pipe }

func (serverEnd) SetHeader(metadata.MD) error  { return nil }
func (serverEnd) SendHeader(metadata.MD) error { return nil }
func (serverEnd) SetTrailer(metadata.MD)       {}

// RecvMsg implements grpc.ServerStream.
func (s serverEnd) RecvMsg(m any) error {
	select {
	case <-s.ctx.Done():
		return s.ctx.Err()
	case r, ok := <-s.requests:
		if !ok {
			return io.EOF
		}
		return handOver(m, r)
	}
}

// SendMsg implements grpc.ServerStream.
func (s serverEnd) SendMsg(m any) error {
	select {
	case <-s.ctx.Done():
		return s.ctx.Err()
	case s.answers <- m:
		return nil
	}
}

type clientEnd struct{ *pipe }

func (clientEnd) Header() (metadata.MD, error) { return metadata.MD{}, nil }
func (clientEnd) Trailer() metadata.MD         { return nil }

// CloseSend implements grpc.ClientStream.
func (c clientEnd) CloseSend() error {
	close(c.requests)
	return nil
}

// SendMsg implements grpc.ClientStream.
func (c clientEnd) SendMsg(m any) error {
	select {
	case c.requests <- m:
		return nil
	default:
		return errors.New("a stream takes one request")
	}
}

// RecvMsg implements grpc.ClientStream.
func (c clientEnd) RecvMsg(m any) error {
	select {
	case a := <-c.answers:
		return handOver(m, a)
	case <-c.done:
		if c.err == nil {
			return io.EOF
		}
		return c.err
	}
}
