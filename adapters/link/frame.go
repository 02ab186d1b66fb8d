package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/telemetry"
)

// The bounds of one message, in bytes.
const (
	// MaxEnvelope bounds the signed part.
	MaxEnvelope = 32 << 10
	// MaxBody bounds what travels beside it; orders are well below.
	MaxBody = telemetry.MaxPayload - MaxEnvelope - 4
)

// frame puts an envelope and a body into one message: the length of the
// envelope in four bytes, the envelope, the body.
func frame(envelope, body []byte) ([]byte, error) {
	if len(envelope) == 0 || len(envelope) > MaxEnvelope || len(body) > MaxBody {
		return nil, fmt.Errorf("a message of %d and %d bytes", len(envelope), len(body))
	}
	b := make([]byte, 4, 4+len(envelope)+len(body))
	binary.BigEndian.PutUint32(b, uint32(len(envelope))) //nolint:gosec // bounded above
	return append(append(b, envelope...), body...), nil
}

// unframe takes a message apart. It verifies nothing.
func unframe(b []byte) (envelope, body []byte, err error) {
	if len(b) < 4 {
		return nil, nil, errors.New("a message without a length")
	}
	n := binary.BigEndian.Uint32(b)
	b = b[4:]
	if n == 0 || n > MaxEnvelope || int64(n) > int64(len(b)) {
		return nil, nil, fmt.Errorf("an envelope of %d bytes in a message of %d", n, len(b))
	}
	if len(b)-int(n) > MaxBody {
		return nil, nil, fmt.Errorf("a body of %d bytes", len(b)-int(n))
	}
	return b[:n], b[n:], nil
}

// holds reports whether a body is the one that a statement names.
func holds(d broker.Digest, size int, body []byte) bool {
	return size == len(body) && d == broker.DigestOf(body)
}

// clean bounds a text and takes out what is no text.
func clean(s string) string {
	if len(s) > maxErrorText {
		s = s[:maxErrorText]
		for len(s) > 0 && !utf8.ValidString(s) && len(s) > maxErrorText-utf8.UTFMax {
			s = s[:len(s)-1]
		}
	}
	s = strings.ToValidUTF8(s, "?")
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}
