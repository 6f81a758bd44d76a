package rpc

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/esante-alsace/cigogne/storage"
)

// A page token says where the next page begins, and of which question: it is
// no secret, and gives nobody more than the question itself does.
type token struct {
	Question []byte          `json:"q"`
	At       json.RawMessage `json:"at"`
}

// tokenBytes bounds a token.
const tokenBytes = 1024

// questionOf tells questions apart. What may differ from page to page is to be
// cleared before.
func questionOf(req proto.Message) ([]byte, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(req)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(b)
	return sum[:8], nil
}

func writeToken(question []byte, at any) (string, error) {
	place, err := json.Marshal(at)
	if err != nil {
		return "", err
	}
	b, err := json.Marshal(token{question, place})
	return base64.RawURLEncoding.EncodeToString(b), err
}

// readToken reads where a page begins into at; no token leaves it as it is.
func readToken(text string, question []byte, at any) error {
	if text == "" {
		return nil
	}
	bad := inField("page_token", fmt.Errorf("%w: page_token is not one that was given for this question", storage.ErrInvalid))
	if len(text) > tokenBytes {
		return bad
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return bad
	}
	var t token
	if json.Unmarshal(b, &t) != nil || !bytes.Equal(t.Question, question) || json.Unmarshal(t.At, at) != nil {
		return bad
	}
	return nil
}

// pageSize is the size of a page that was asked for.
func pageSize(asked, usual int32) (int, error) {
	const most = 10_000
	switch {
	case asked < 0 || asked > most:
		return 0, inField("page_size", fmt.Errorf("%w: page_size %d is not between 0 and %d", storage.ErrInvalid, asked, most))
	case asked == 0:
		return int(usual), nil
	}
	return int(asked), nil
}
