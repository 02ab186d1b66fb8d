package nomad

import (
	"errors"
	"net/http"
	"strings"

	"github.com/hashicorp/nomad/api"

	"github.com/valico-hpc/valico/broker"
)

func refused(code, value, rule string) *broker.Error {
	return &broker.Error{
		Kind: broker.KindInvalid, Code: code, Message: "the Nomad adapter refuses the launch", Value: value, Rule: rule,
		Help: "this is a matter of the site's agent or its configuration", Who: "the site operator",
	}
}

func unavailable(message string, err error) *broker.Error {
	return &broker.Error{
		Kind: broker.KindUnavailable, Code: "scheduler_unavailable", Message: message,
		Rule: "an answer that was not had is not guessed", Help: "wait, or look at the site's Nomad", Who: "the site operator", Err: err,
	}
}

// class is what an error of Nomad means for us.
type class string

const (
	classOutage  class = "outage"  // no answer, or one that may be another later
	classAuth    class = "auth"    // the token is unknown, expired or may not do this
	classUnknown class = "unknown" // there is no such thing
	classExists  class = "exists"  // create-only, and it is there
	classRefused class = "refused" // never, as it was sent
)

// isNever recognises what Nomad says of a job that it will not take however often
// it is sent. It answers all of them with status 500, as it does when it has no leader.
func isNever(body string) bool {
	for _, s := range [...]string{
		"nonexistent namespace", "nonexistent node pool", "error occurred:", "errors occurred:",
		"does not exist in namespace", "requires a Nomad Enterprise license", "job priority must be",
	} {
		if strings.Contains(body, s) {
			return true
		}
	}
	return false
}

// classOf is total: what it does not know is an outage, and so is asked again.
func classOf(err error) class {
	if errors.Is(err, errTooMuch) {
		return classRefused // it was not sent, and will be no shorter
	}
	e, ok := errors.AsType[api.UnexpectedResponseError](err)
	if !ok || !e.HasStatusCode() {
		return classOutage
	}
	body := e.Body()
	switch e.StatusCode() {
	case http.StatusUnauthorized, http.StatusForbidden:
		return classAuth
	case http.StatusNotFound:
		return classUnknown
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
		return classRefused
	case http.StatusInternalServerError:
		if strings.Contains(body, "Enforcing job modify index") {
			return classExists
		}
		if isNever(body) {
			return classRefused
		}
	}
	return classOutage
}

// translate turns a failure into one of the port. Only what Nomad refused for
// good is invalid; everything else may go better later.
func translate(op string, err error) error {
	switch classOf(err) {
	case classRefused:
		b := refused("nomad_refused", "", "Nomad accepts a job as a whole or not at all")
		b.Message, b.Err = op+": Nomad refused", err
		return b
	case classAuth:
		b := unavailable(op+": Nomad does not accept the agent's token", err)
		b.Code, b.Help = "scheduler_token_refused", "give the agent a token that is valid and may submit and read jobs of its namespace"
		return b
	case classOutage, classUnknown, classExists:
		return unavailable(op+": no answer from Nomad that can be used", err)
	}
	return unavailable(op+": no answer from Nomad", err)
}
