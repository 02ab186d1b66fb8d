package link

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/images/dsse"
)

// Answer is what the agent signs: over the request's own bytes, so that it can
// answer nothing else. The body travels beside it.
type Answer struct {
	Version int
	Site    broker.SiteID
	Request broker.Digest // of the request's envelope
	At      time.Time     // by the agent's clock
	Alerts  int           // that the broker did not acknowledge
	Err     *broker.Error // what the agent answered; Kind, Code, Message, Rule, Value, Help and Who
	Body    broker.Digest
	Size    int
}

type wireAnswer struct {
	V       int           `json:"v"`
	Site    string        `json:"site"`
	Request broker.Digest `json:"request"`
	At      string        `json:"at"`
	Alerts  int           `json:"alerts"`
	Err     *wireError    `json:"error"`
	Body    broker.Digest `json:"body"`
	Size    int           `json:"size"`
}

type wireError struct {
	Kind    string `json:"kind"`
	Code    string `json:"code"`
	Message string `json:"message"`
	Rule    string `json:"rule"`
	Value   string `json:"value"`
	Help    string `json:"help"`
	Who     string `json:"who"`
}

// maxErrorText bounds each text of an error in bytes.
const maxErrorText = 1024

// newWireError takes over what may be shown; the cause stays at the site.
func newWireError(err error) *wireError {
	e, ok := errors.AsType[*broker.Error](err)
	if !ok {
		e = &broker.Error{Kind: broker.KindInternal, Code: "agent_internal", Message: "the site's agent failed", Help: "look at the agent's log", Who: "the site operator"}
	}
	w := wireError{
		Kind: string(e.Kind), Code: e.Code, Message: e.Message, Rule: e.Rule, Value: e.Value, Help: e.Help, Who: e.Who,
	}
	for _, s := range []*string{&w.Code, &w.Message, &w.Rule, &w.Value, &w.Help, &w.Who} {
		*s = clean(*s)
	}
	return &w
}

func (w *wireError) error() (*broker.Error, error) {
	switch k := broker.Kind(w.Kind); k {
	case broker.KindInvalid, broker.KindUnauthenticated, broker.KindForbidden, broker.KindNotFound, broker.KindConflict,
		broker.KindNotAdmitted, broker.KindQuota, broker.KindUnavailable, broker.KindInternal:
		for _, s := range []string{w.Code, w.Message, w.Rule, w.Value, w.Help, w.Who} {
			if s != clean(s) {
				return nil, errors.New("an error's text of another form")
			}
		}
		return &broker.Error{Kind: k, Code: w.Code, Message: w.Message, Rule: w.Rule, Value: w.Value, Help: w.Help, Who: w.Who}, nil
	}
	return nil, fmt.Errorf("an error of unknown kind %q", w.Kind)
}

func (a Answer) encode() ([]byte, error) {
	w := wireAnswer{
		V: a.Version, Site: string(a.Site), Request: a.Request, At: a.At.UTC().Format(stampLayout), Alerts: a.Alerts,
		Body: a.Body, Size: a.Size,
	}
	if a.Err != nil {
		w.Err = newWireError(a.Err)
	}
	switch {
	case a.Version < oldest || a.Version > Version:
		return nil, fmt.Errorf("%w: %d", errVersion, a.Version)
	case !validName(string(a.Site)) || !a.Request.Valid() || !a.Body.Valid():
		return nil, errors.New("an answer names its site, request and body")
	case a.At.Year() < 2000 || a.At.Year() > 9999 || a.Alerts < 0 || a.Size < 0 || a.Size > MaxBody:
		return nil, errors.New("an answer has a time, and sizes within bounds")
	}
	return json.Marshal(w)
}

// SignAnswer signs an answer with the agent's own key.
func SignAnswer(a Answer, key crypto.Signer) ([]byte, error) {
	b, err := a.encode()
	if err != nil {
		return nil, fmt.Errorf("sign answer: %w", err)
	}
	return dsse.Sign(AnswerType, b, key)
}

// VerifyAnswer returns what the holder of key answered to a request, given as
// the bytes of its envelope; anything else is an error.
func VerifyAnswer(envelope, request []byte, site broker.SiteID, key crypto.PublicKey) (Answer, error) {
	e, err := dsse.Parse(envelope)
	if err != nil {
		return Answer{}, err
	}
	payload, err := e.Verify(AnswerType, key)
	if err != nil {
		return Answer{}, err
	}
	a, err := decodeAnswer(payload)
	if err != nil {
		return Answer{}, err
	}
	if a.Site != site || a.Request != broker.DigestOf(request) {
		return Answer{}, errors.New("an answer to another request")
	}
	return a, nil
}

func decodeAnswer(payload []byte) (Answer, error) {
	if err := checkVersion(payload); err != nil {
		return Answer{}, err
	}
	var w wireAnswer
	if err := json.Unmarshal(payload, &w, json.RejectUnknownMembers(true)); err != nil {
		return Answer{}, err
	}
	at, err := time.Parse(stampLayout, w.At)
	if err != nil {
		return Answer{}, fmt.Errorf("time of the answer: %w", err)
	}
	a := Answer{
		Version: w.V, Site: broker.SiteID(w.Site), Request: w.Request, At: at, Alerts: w.Alerts, Body: w.Body, Size: w.Size,
	}
	if w.Err != nil {
		if a.Err, err = w.Err.error(); err != nil {
			return Answer{}, err
		}
	}
	again, err := a.encode()
	if err != nil {
		return Answer{}, err
	}
	if !bytes.Equal(again, payload) {
		return Answer{}, errors.New("another encoding of the same answer")
	}
	return a, nil
}
