package link

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/images/dsse"
)

// The versions of the messages' form that this package speaks: its own and the
// one before it, once there is one.
const (
	Version = 1
	oldest  = 1
)

// The types of statements. They differ from every other statement's, so that
// none can be taken for one of these, whatever key signed it.
const (
	RequestType = "application/vnd.valico.link-request+json"
	AnswerType  = "application/vnd.valico.link-answer+json"
)

// Method is what a request asks for.
type Method string

// The methods.
const (
	MethodDescribe Method = "describe"
	MethodStart    Method = "start"
	MethodStop     Method = "stop"
	MethodReports  Method = "reports"
	MethodManifest Method = "manifest"
	MethodRelease  Method = "release"
	MethodRead     Method = "read"
	MethodAlerts   Method = "alerts"
)

// Methods lists every method.
func Methods() []Method {
	return []Method{
		MethodDescribe, MethodStart, MethodStop, MethodReports, MethodManifest, MethodRelease, MethodRead, MethodAlerts,
	}
}

// changes reports whether obeying the method twice could differ from once; its
// nonce is on the disk before it is obeyed. Nothing else is known of a method
// that is not listed.
func (m Method) changes() bool {
	switch m {
	case MethodStart, MethodStop, MethodRelease, MethodAlerts:
		return true
	case MethodDescribe, MethodReports, MethodManifest, MethodRead:
		return false
	}
	return true
}

func (m Method) known() bool {
	switch m {
	case MethodDescribe, MethodStart, MethodStop, MethodReports, MethodManifest, MethodRelease, MethodRead, MethodAlerts:
		return true
	}
	return false
}

const stampLayout = "2006-01-02T15:04:05.000000Z"

// nonceSize is the size of a nonce in bytes.
const nonceSize = 16

// Request is what the broker signs. The body travels beside it.
type Request struct {
	Version  int
	Site     broker.SiteID
	Method   Method
	Nonce    [nonceSize]byte
	Deadline time.Time
	Body     broker.Digest
	Size     int
}

type wireRequest struct {
	V        int           `json:"v"`
	Site     string        `json:"site"`
	Method   string        `json:"method"`
	Nonce    string        `json:"nonce"`
	Deadline string        `json:"deadline"`
	Body     broker.Digest `json:"body"`
	Size     int           `json:"size"`
}

// NewRequest makes a request of this version with a nonce of its own.
func NewRequest(site broker.SiteID, m Method, body []byte, deadline time.Time) Request {
	r := Request{
		Version: Version, Site: site, Method: m, Body: broker.DigestOf(body), Size: len(body),
		Deadline: deadline.UTC().Truncate(time.Microsecond),
	}
	_, _ = rand.Read(r.Nonce[:]) // crypto/rand.Read never returns an error
	return r
}

func (r Request) encode() ([]byte, error) {
	w := wireRequest{
		V: r.Version, Site: string(r.Site), Method: string(r.Method), Nonce: base64.RawURLEncoding.EncodeToString(r.Nonce[:]),
		Deadline: r.Deadline.UTC().Format(stampLayout), Body: r.Body, Size: r.Size,
	}
	switch {
	case r.Version < oldest || r.Version > Version:
		return nil, fmt.Errorf("%w: %d", errVersion, r.Version)
	case !validName(string(r.Site)) || !r.Method.known():
		return nil, errors.New("a request names a site and a method")
	case r.Deadline.Year() < 2000 || r.Deadline.Year() > 9999:
		return nil, errors.New("a request has a deadline")
	case !r.Body.Valid() || r.Size < 0 || r.Size > MaxBody:
		return nil, errors.New("a request names its body")
	}
	return json.Marshal(w)
}

// SignRequest signs a request with a link key.
func SignRequest(r Request, key crypto.Signer) ([]byte, error) {
	b, err := r.encode()
	if err != nil {
		return nil, fmt.Errorf("sign request: %w", err)
	}
	return dsse.Sign(RequestType, b, key)
}

var errVersion = errors.New("another version of the link")

// decodeRequest reads the one encoding of a request. The signature is not
// verified yet: nothing in it is to be believed.
func decodeRequest(e dsse.Envelope) (Request, error) {
	if e.PayloadType != RequestType {
		return Request{}, fmt.Errorf("payload type %q", e.PayloadType)
	}
	if err := checkVersion(e.Payload); err != nil {
		return Request{}, err
	}
	var w wireRequest
	if err := json.Unmarshal(e.Payload, &w, json.RejectUnknownMembers(true)); err != nil {
		return Request{}, err
	}
	nonce, err := base64.RawURLEncoding.Strict().DecodeString(w.Nonce)
	if err != nil || len(nonce) != nonceSize {
		return Request{}, errors.New("nonce of another size")
	}
	deadline, err := time.Parse(stampLayout, w.Deadline)
	if err != nil {
		return Request{}, fmt.Errorf("deadline: %w", err)
	}
	r := Request{
		Version: w.V, Site: broker.SiteID(w.Site), Method: Method(w.Method), Nonce: [nonceSize]byte(nonce), Deadline: deadline,
		Body: w.Body, Size: w.Size,
	}
	again, err := r.encode()
	if err != nil {
		return Request{}, err
	}
	if !bytes.Equal(again, e.Payload) {
		return Request{}, errors.New("another encoding of the same request")
	}
	return r, nil
}

// checkVersion tells another version apart from a broken message: nothing else
// of a statement of another version is read.
func checkVersion(payload []byte) error {
	var w struct {
		V int `json:"v"`
	}
	if err := json.Unmarshal(payload, &w); err != nil {
		return err
	}
	if w.V < oldest || w.V > Version {
		return fmt.Errorf("%w: %d", errVersion, w.V)
	}
	return nil
}

// validName reports whether an id may be part of a subject or a file's name.
func validName(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for _, c := range []byte(s) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
		if !letter {
			return false
		}
	}
	return true
}
