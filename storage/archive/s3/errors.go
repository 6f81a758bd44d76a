package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"

	"github.com/esante-alsace/cigogne/storage"
)

// errTaken is the server's refusal of a conditional put: the key is taken. It
// does not leave the package.
var errTaken = errors.New("the key is taken")

// errSilent is why an attempt was given up.
var errSilent = errors.New("the server did not answer in time")

// sourceError is an error of what is being put, and none of the archive.
type sourceError struct{ error }

func (e sourceError) Unwrap() error { return e.error }

// explain wraps what the server or the network said with the error that
// storage has for it, and tells whether asking again may help at once.
func explain(doing, key string, err error) (wrapped error, again bool) {
	var source sourceError
	if errors.As(err, &source) {
		return fmt.Errorf("%s %q: %w", doing, key, source.error), false
	}
	kind, again := classify(err)
	// What the SDK says is kept as text: it may wrap the end of an attempt's
	// own context, which is not the caller's.
	return fmt.Errorf("%s %q: %w: %v", doing, key, kind, err), again //nolint:errorlint // see above
}

// classify finds the error of storage for one of the SDK, by the HTTP status
// where there is one, and by the S3 error code where the status is not enough.
func classify(err error) (kind error, again bool) {
	code := ""
	if api := smithy.APIError(nil); errors.As(err, &api) {
		code = api.ErrorCode()
	}
	response := (*awshttp.ResponseError)(nil)
	if !errors.As(err, &response) {
		return storage.ErrUnavailable, !refusedBeforehand(err)
	}
	if strings.Contains(code, "Quota") || strings.Contains(code, "StorageFull") {
		return storage.ErrFull, false
	}
	return byStatus(response.HTTPStatusCode(), code)
}

// byStatus sorts what a server answers.
func byStatus(status int, code string) (kind error, again bool) {
	switch status {
	case http.StatusNotFound:
		if code == "NoSuchBucket" { // the archive is away, and not the object
			return storage.ErrUnavailable, false
		}
		return storage.ErrNotFound, false
	case http.StatusPreconditionFailed:
		return errTaken, false
	case http.StatusConflict:
		return conflict(code)
	case http.StatusRequestedRangeNotSatisfiable:
		return storage.ErrInvalid, false
	case http.StatusInsufficientStorage:
		return storage.ErrFull, false
	case http.StatusNotImplemented:
		return storage.ErrUnsupported, false
	case http.StatusBadRequest:
		return badRequest(code)
	case http.StatusForbidden:
		// What this node may not do is no statement about who asked it.
		return storage.ErrUnavailable, code == "RequestTimeTooSkewed"
	default:
		return storage.ErrUnavailable, status >= 500 || status == http.StatusTooManyRequests ||
			status == http.StatusRequestTimeout || status < 300
	}
}

// conflict sorts what servers answer with 409.
func conflict(code string) (kind error, again bool) {
	switch code {
	case "ObjectParentIsFile", "ExistingObjectIsDirectory": // of servers on a file system
		return storage.ErrInvalid, false
	default: // ConditionalRequestConflict, OperationAborted: two at once
		return storage.ErrUnavailable, true
	}
}

// badRequest sorts what servers answer with 400. That bytes came damaged or
// not at all is said in this way too, and helps to be sent again.
func badRequest(code string) (kind error, again bool) {
	switch code {
	case "BadDigest", "InvalidDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch",
		"IncompleteBody", "RequestTimeout":
		return storage.ErrUnavailable, true
	case "EntityTooLarge":
		return storage.ErrTooLarge, false
	case "KeyTooLongError":
		return storage.ErrInvalid, false
	default:
		return storage.ErrUnavailable, false
	}
}

// refusedBeforehand tells whether an error came before anything was sent,
// for lack of credentials say, so that the next attempt fails in the same way.
func refusedBeforehand(err error) bool {
	signing := (*smithy.OperationError)(nil)
	return errors.As(err, &signing) && strings.Contains(err.Error(), "credentials")
}

// ended returns the caller's reason to stop, when it has one.
func ended(ctx context.Context, doing, key string) error {
	if ctx.Err() == nil {
		return nil
	}
	return fmt.Errorf("%s %q: %w", doing, key, context.Cause(ctx))
}
