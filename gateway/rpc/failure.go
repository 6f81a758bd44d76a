package rpc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/esante-alsace/cigogne/gateway/throttle"
	"github.com/esante-alsace/cigogne/storage"
)

// domain is that of ErrorInfo.
const domain = "cigogne"

// retryAfter is when a caller may try again what is unavailable.
const retryAfter = time.Second

// fieldError is an error of one field of a request.
type fieldError struct {
	field string
	error
}

func (e fieldError) Unwrap() error { return e.error }

// inField tells which field of the request an error is of.
func inField(field string, err error) error { return fieldError{field, err} }

// kind is what a sentinel of package storage is called here.
type kind struct {
	is     error
	code   codes.Code
	reason string // of ErrorInfo
	again  bool   // asking again later may help
}

// kinds is the one place where an error becomes a code; the first that fits
// stands.
func kinds() []kind {
	return []kind{
		{storage.ErrForbidden, codes.PermissionDenied, "FORBIDDEN", false},
		{storage.ErrGone, codes.OutOfRange, "GONE", false},
		{storage.ErrNotFound, codes.NotFound, "NOT_FOUND", false},
		{storage.ErrFull, codes.ResourceExhausted, "OUT_OF_SPACE", true},
		{throttle.ErrBusy, codes.ResourceExhausted, "BUSY", true},
		{throttle.ErrTooMany, codes.ResourceExhausted, "TOO_MANY_REQUESTS", true},
		{storage.ErrUnavailable, codes.Unavailable, "UNAVAILABLE", true},
		{storage.ErrTooLarge, codes.InvalidArgument, "TOO_LARGE", false},
		{storage.ErrUnsupported, codes.Unimplemented, "NOT_SUPPORTED", false},
		{storage.ErrProtected, codes.FailedPrecondition, "PROTECTED", false},
		{storage.ErrConflict, codes.AlreadyExists, "CONFLICT", false},
		{storage.ErrMismatch, codes.FailedPrecondition, "MISMATCH", false},
		{storage.ErrProtected, codes.FailedPrecondition, "PROTECTED", false},
		{storage.ErrCorrupt, codes.DataLoss, "CORRUPT", false},
		{storage.ErrInvalid, codes.InvalidArgument, "INVALID", false},
		{context.DeadlineExceeded, codes.DeadlineExceeded, "TIMEOUT", true},
		{context.Canceled, codes.Canceled, "CANCELED", false},
	}
}

// errDraining ends the streams of a node that stops.
var errDraining = fmt.Errorf("%w: the node stops: go on at another one, or at this one later", storage.ErrUnavailable)

// failure is err as callers see it: a status with the details of
// google.rpc. The text of what is our own fault stays in the log.
func failure(ctx context.Context, err error) *status.Status {
	if s, ok := status.FromError(err); ok {
		return s
	}
	k := kind{code: codes.Internal, reason: "INTERNAL"}
	for _, one := range kinds() {
		if errors.Is(err, one.is) {
			k = one
			break
		}
	}
	said := text(err.Error())
	if k.code == codes.Internal || k.code == codes.DataLoss {
		said = "internal error"
	}
	details := []protoadapt.MessageV1{&errdetails.ErrorInfo{Reason: k.reason, Domain: domain}}
	if id := callerOf(ctx).requestID; id != "" {
		details = append(details, &errdetails.RequestInfo{RequestId: id})
	}
	var field fieldError
	if errors.As(err, &field) {
		details = append(details, &errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
			{Field: field.field, Description: text(field.Error())},
		}})
	}
	if k.again {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(retryAfter)})
	}
	plain := status.New(k.code, said)
	full, err := plain.WithDetails(details...)
	if err != nil { // only for a status of OK
		return plain
	}
	return full
}
