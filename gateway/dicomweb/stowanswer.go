package dicomweb

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/esante-alsace/cigogne/gateway"
	"github.com/esante-alsace/cigogne/storage"
)

// The values of FailureReason and WarningReason (PS3.18 §I.2, PS3.4 §B.2.3).
const (
	reasonOutOfResources   = 0xA700
	reasonMismatch         = 0xA900
	reasonCannotUnderstand = 0xC000
	reasonProcessing       = 0x0110
	reasonClassUnsupported = 0x0122
	reasonNotAuthorised    = 0x0124
	// warningKeptAside: the instance is durable, but another Data Set has its
	// name: 'coercion of data elements' is the nearest the standard has.
	warningKeptAside = 0xB000
)

func failureReason(err error) int {
	switch {
	case errors.Is(err, storage.ErrFull), errors.Is(err, storage.ErrUnavailable), errors.Is(err, storage.ErrTooLarge),
		errors.Is(err, context.DeadlineExceeded): // of DurableTimeout
		return reasonOutOfResources
	case errors.Is(err, storage.ErrMismatch), errors.Is(err, storage.ErrConflict):
		return reasonMismatch
	case errors.Is(err, storage.ErrForbidden):
		return reasonNotAuthorised
	case errors.Is(err, storage.ErrUnsupported):
		return reasonClassUnsupported
	case errors.Is(err, storage.ErrInvalid):
		return reasonCannotUnderstand
	}
	return reasonProcessing
}

// answerStore writes the Store Instances Response (PS3.18 §10.5.3, §I.2).
// broken is the error that ended the body before its time: the status is then
// its status, and the answer tells what was stored before.
func (s *service) answerStore(w *answer, r *http.Request, results []*result, broken error) error {
	status := storeStatus(results)
	if broken != nil {
		if status = statusOf(broken); status == http.StatusInternalServerError {
			status = http.StatusBadRequest // the sender's connection failed
		}
		w.Header().Add("Warning", `299 cigogne "`+strings.Map(warningText, broken.Error())+`"`)
		w.Header().Set("Connection", "close")
	}
	for _, res := range results {
		if res.err != nil {
			s.Logger.LogAttrs(r.Context(), levelOf(res.err), "instance refused", slog.String("request", s.RequestID(r)),
				slog.String("SOPInstanceUID", res.receipt.Key.SOPInstanceUID), slog.Any("error", res.err))
		}
	}
	body := appendStoreResponse(nil, s.root(r), results, r.Header.Get(receiptsHeader) != "")
	w.Header().Set("Content-Type", jsonType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", retryAfter)
	}
	w.WriteHeader(status)
	_, err := w.Write(body)
	return err
}

// levelOf is Warn for what this node could not do, Info for what the sender
// did wrong.
func levelOf(err error) slog.Level {
	if statusOf(err) >= http.StatusInternalServerError {
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

// warningText keeps a text within a quoted string (RFC 9110 §5.6.4).
func warningText(c rune) rune {
	if c < ' ' || c > '~' || c == '"' || c == '\\' {
		return '\''
	}
	return c
}

// storeStatus is 200 when all is well, 202 when some failed or were kept
// aside, and 409 when all failed (PS3.18 §10.5.3.1), unless all failed for one
// reason that HTTP has a word for.
func storeStatus(results []*result) int {
	failed, warned, common := 0, 0, 0
	for _, res := range results {
		switch {
		case res.err != nil:
			status := statusOf(res.err)
			if failed > 0 && status != common {
				status = http.StatusConflict
			}
			common = status
			failed++
		case res.receipt.Standing == gateway.Conflict:
			warned++
		}
	}
	switch {
	case failed == 0 && warned == 0:
		return http.StatusOK
	case failed < len(results):
		return http.StatusAccepted
	}
	switch common {
	case http.StatusInsufficientStorage, http.StatusServiceUnavailable, http.StatusRequestEntityTooLarge, http.StatusForbidden:
		return common
	}
	return http.StatusConflict
}

// usualItem is more than an item of the response takes, in bytes, and than what
// stands around them.
const usualItem = 512

// appendStoreResponse writes the response as DICOM JSON, in ascending order of
// tags. RetrieveURL is that of the one study in which something was stored,
// and empty when there are several or none. A failure whose instance is not
// known goes to OtherFailuresSequence. With receipts each item ends with one.
func appendStoreResponse(dst []byte, root string, results []*result, receipts bool) []byte {
	var other, failed []byte
	stored := make([]byte, 0, usualItem*len(results))
	study, several := "", false
	end := func(item []byte, part int) []byte {
		if receipts {
			item = appendReceipt(item, part, results[part])
		}
		return append(item, '}')
	}
	for part, res := range results {
		name := res.receipt
		switch {
		case res.err == nil:
			if in := name.Key.StudyInstanceUID; name.Standing != gateway.Conflict {
				several = several || study != "" && study != in
				study = in
			}
			stored = end(appendStored(appendComma(stored), root, name), part)
		case storage.ValidUID(name.Key.SOPInstanceUID):
			failed = append(appendReference(appendComma(failed), name), ',')
			failed = end(appendNumber(failed, "00081197", failureReason(res.err)), part)
		default:
			other = append(appendComma(other), '{')
			other = end(appendNumber(other, "00081197", failureReason(res.err)), part)
		}
	}
	dst = append(slices.Grow(dst, usualItem+len(failed)+len(stored)+len(other)), '{')
	if study == "" || several {
		dst = append(dst, `"00081190":{"vr":"UR"},`...)
	} else {
		dst = append(appendText(dst, "00081190", "UR", studyURL(root, study)), ',')
	}
	for _, sequence := range []struct {
		tag   string
		items []byte
	}{{"00081198", failed}, {"00081199", stored}, {"0008119A", other}} {
		if len(sequence.items) > 0 {
			dst = append(dst, `"`+sequence.tag+`":{"vr":"SQ","Value":[`...)
			dst = append(append(dst, sequence.items...), "]},"...)
		}
	}
	return append(bytes.TrimRight(dst, ","), '}')
}

func appendStored(dst []byte, root string, name gateway.Receipt) []byte {
	aside := name.Standing == gateway.Conflict
	dst = append(appendReference(dst, name), ',')
	if aside {
		root += conflictsPath
	}
	dst = appendText(dst, "00081190", "UR", instanceURL(root, name.Key))
	if aside {
		dst = appendNumber(append(dst, ','), "00081196", warningKeptAside)
	}
	return dst
}

// appendReceipt ends an item with what DICOMweb has no attributes for, as
// private ones: which part of the body it is about, counted from 0; the digest
// of the Data Set that is durable, and whether it was before; or in words why
// the part was refused.
func appendReceipt(dst []byte, part int, res *result) []byte {
	dst = appendText(append(dst, ','), "00090010", "LO", "CIGOGNE")
	dst = append(dst, `,"00091001":{"vr":"UL","Value":[`...)
	dst = append(strconv.AppendInt(dst, int64(part), 10), "]},"...)
	if res.err != nil {
		return appendText(dst, "00091003", "LT", publicText(res.err))
	}
	dst = appendText(dst, "00091005", "LO", res.receipt.Digest.String())
	if res.receipt.Standing == gateway.Duplicate {
		dst = appendText(append(dst, ','), "00091004", "CS", "DUPLICATE")
	}
	return dst
}

// appendReference begins an item with the names of an instance.
func appendReference(dst []byte, name gateway.Receipt) []byte {
	dst = append(dst, '{')
	if storage.ValidUID(name.SOPClassUID) {
		dst = append(appendText(dst, "00081150", "UI", name.SOPClassUID), ',')
	}
	return appendText(dst, "00081155", "UI", name.Key.SOPInstanceUID)
}

func appendComma(items []byte) []byte {
	if len(items) == 0 {
		return items
	}
	return append(items, ',')
}

func appendText(dst []byte, tag, vr, value string) []byte {
	dst = append(dst, `"`+tag+`":{"vr":"`+vr+`","Value":[`...)
	return append(appendQuoted(dst, value), "]}"...)
}

func appendNumber(dst []byte, tag string, value int) []byte {
	dst = append(dst, `"`+tag+`":{"vr":"US","Value":[`...)
	return append(strconv.AppendInt(dst, int64(value), 10), "]}"...)
}

// appendQuoted writes a JSON string of visible ASCII; other bytes, which no
// UID and no URL has, become '?'.
func appendQuoted(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c > '~':
			dst = append(dst, '?')
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

// metaPeek is how much of an instance is looked at for its names.
const metaPeek = 2 << 10

// metaInformation finds MediaStorageSOPClassUID and MediaStorageSOPInstanceUID
// (PS3.10 §7.1) in the first bytes of an instance, to name it in the answer in
// case that it is refused; nothing else goes by it.
func metaInformation(head []byte) gateway.Receipt {
	var found gateway.Receipt
	const preamble = 132
	if len(head) < preamble || string(head[128:preamble]) != "DICM" {
		return found
	}
	for rest := head[preamble:]; len(rest) >= 8 && rest[0] == 2 && rest[1] == 0; {
		header, length := 8, int(binary.LittleEndian.Uint16(rest[6:]))
		if vr := string(rest[4:6]); vr == "OB" || vr == "UN" {
			if len(rest) < 12 {
				break
			}
			header, length = 12, int(binary.LittleEndian.Uint32(rest[8:]))
		}
		if length < 0 || length > len(rest)-header {
			break
		}
		value := strings.TrimRight(string(rest[header:header+length]), "\x00 ")
		switch binary.LittleEndian.Uint16(rest[2:]) {
		case 2:
			found.SOPClassUID = value
		case 3:
			found.Key.SOPInstanceUID = value
		}
		rest = rest[header+length:]
	}
	return found
}
