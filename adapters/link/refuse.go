package link

import "github.com/valico-hpc/valico/broker"

// The codes with which a Responder refuses a request.
const (
	CodeMalformed  = "link_malformed"
	CodeKeyUnknown = "link_key_unknown"
	CodeKeyRole    = "link_key_role"
	CodeStatement  = "link_statement"
	CodeSignature  = "link_signature"
	CodeVersion    = "link_version"
	CodeWrongSite  = "link_wrong_site"
	CodeBody       = "link_body"
	CodeLate       = "link_late"
	CodeAhead      = "link_ahead"
	CodeReplay     = "link_replay"
	CodeBusy       = "link_busy"
	CodeJournal    = "link_journal"
)

// Codes lists the codes in the order in which they are checked.
func Codes() []string {
	return []string{
		CodeMalformed, CodeKeyUnknown, CodeKeyRole, CodeStatement, CodeSignature, CodeVersion, CodeWrongSite, CodeBody,
		CodeLate, CodeAhead, CodeReplay, CodeBusy, CodeJournal,
	}
}

// The codes with which a Site says that it has no answer.
const (
	CodeNoAnswer    = "site_no_answer"
	CodeAway        = "site_away"
	CodeNotEnrolled = "site_not_enrolled"
	CodeTooLarge    = "link_too_large"
	CodeNoVersion   = "link_no_version"
)

// refusal is why a request is not obeyed.
type refusal struct {
	code   string
	detail string
	// answered says that whoever asked is told. Only who proved to hold a link
	// key is, and never of a repeated message: the answer to the first must stay
	// the only one.
	answered bool
}

// notKnown is what a refusal of the link is to the broker: the order may have
// been obeyed before or not, so ask again.
func (r refusal) notKnown() *broker.Error {
	e := &broker.Error{
		Kind: broker.KindUnavailable, Code: r.code, Message: "the site's agent did not take the request", Value: clean(r.detail),
		Rule: "a request reaches the agent once, before its deadline, in a version that both ends know",
		Help: "it is asked again", Who: "the site operator",
	}
	switch r.code {
	case CodeLate, CodeAhead:
		e.Help = "compare the clocks of broker and site"
	case CodeVersion:
		e.Help = "update the older of broker and agent"
	case CodeJournal:
		e.Help = "look at the disk of the site's agent"
	}
	return e
}
