package telemetry

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/valico-hpc/valico/broker"
)

// Streams and their subjects.
const (
	// StreamSites holds what sites say.
	StreamSites = "TEL"
	// StreamBroker holds what the record's outbox says.
	StreamBroker = "EVT"

	sitesPrefix  = "tel."
	brokerPrefix = "evt."
)

// Sources of events.
const (
	SourceSite   = "site"
	SourceBroker = "broker"
)

// Subject returns the subject that an event travels under.
func Subject(e broker.Event) (string, error) {
	if err := checkEvent(e); err != nil {
		return "", err
	}
	if e.Source == SourceBroker {
		return brokerPrefix + string(e.Tenant) + "." + string(e.Job), nil
	}
	return strings.Join([]string{"tel", string(e.Site), string(e.Tenant), string(e.Job), string(e.Attempt), e.Kind}, "."), nil
}

// MessageID is an event's identity as the duplicate window of a stream sees it.
func MessageID(e broker.Event) string {
	return strings.Join([]string{
		string(e.Site), string(e.Job), string(e.Attempt), e.Source, strconv.FormatUint(e.Seq, 10),
	}, "/")
}

// checkEvent holds the shape of an event that may travel.
func checkEvent(e broker.Event) error {
	if e.Seq == 0 {
		return fmt.Errorf("event without a number")
	}
	if y := e.At.Year(); y < 1 || y > 9999 {
		return fmt.Errorf("event of the year %d, which no reader could be told", y)
	}
	if !token(string(e.Tenant)) || !token(string(e.Job)) {
		return fmt.Errorf("event without a tenant or job that can be a subject")
	}
	switch e.Kind {
	case broker.EventState, broker.EventMetric, broker.EventLog, broker.EventNotice:
	default:
		return fmt.Errorf("event of unknown kind %q", e.Kind)
	}
	switch e.Source {
	case SourceSite:
		if e.Kind == broker.EventState {
			return fmt.Errorf("event of a site about the state of a job, which the record alone knows")
		}
		if !token(string(e.Site)) || !token(string(e.Attempt)) {
			return fmt.Errorf("event of a site without a site or attempt that can be a subject")
		}
	case SourceBroker:
		if e.Site != "" || (e.Attempt != "" && !token(string(e.Attempt))) {
			return fmt.Errorf("event of the broker that names a site, or an attempt that cannot be an id")
		}
	default:
		return fmt.Errorf("event of unknown source %q", e.Source)
	}
	return nil
}

// token reports whether s may be one element of a subject: never a wildcard,
// a separator or anything that a person could have chosen to mean something.
func token(s string) bool {
	return s != "" && len(s) <= 64 &&
		strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == ""
}
