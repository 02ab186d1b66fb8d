package link

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/valico-hpc/valico/broker"
)

// maxIDs is how many attempts, or alerts, one request names at most.
const maxIDs = 1000

// maxChunk is how much of a file or manifest one answer carries, in bytes.
const maxChunk = 1 << 20

// The bodies of requests. A start's body is the signed order as package order
// encodes it; describe has none.
type (
	stopBody struct {
		Attempt string `json:"attempt"`
	}
	reportsBody struct {
		Attempts []string `json:"attempts"`
	}
	// manifestBody asks for a part of a sealed manifest's bytes.
	manifestBody struct {
		Attempt string `json:"attempt"`
		Offset  int64  `json:"offset"`
	}
	releaseBody struct {
		Attempt  string `json:"attempt"`
		Envelope []byte `json:"envelope"`
	}
	// readBody asks for a part of a released file.
	readBody struct {
		Attempt string `json:"attempt"`
		Path    string `json:"path"`
		Offset  int64  `json:"offset"`
	}
	// alertsBody says which alerts are recorded, with the counts that they had,
	// and asks for others.
	alertsBody struct {
		Recorded []recorded `json:"recorded"`
	}
	recorded struct {
		ID    string `json:"id"`
		Count int64  `json:"count"`
	}
)

// The bodies of answers; start, stop and release have none.
type (
	describeAnswer struct {
		MinVersion  int           `json:"min_version"`
		MaxVersion  int           `json:"max_version"`
		Version     string        `json:"version"`
		StartedAt   string        `json:"started_at"`
		Trust       broker.Digest `json:"trust"`
		Packs       broker.Digest `json:"packs"`
		Scheduler   string        `json:"scheduler"`
		SchedulerOK bool          `json:"scheduler_ok"`
		Attempts    int           `json:"attempts"`
		DiskUsed    int64         `json:"disk_used"`
		DiskFree    int64         `json:"disk_free"`
		DiskBound   int64         `json:"disk_bound"`
	}
	reportsAnswer struct {
		Reports []wireReport `json:"reports"`
	}
	// chunkAnswer is a part of something. Last says that nothing comes after it.
	chunkAnswer struct {
		Digest broker.Digest `json:"digest"` // of the whole
		Size   int64         `json:"size"`   // of the whole
		Last   bool          `json:"last"`
		Bytes  []byte        `json:"bytes"`
	}
	alertsAnswer struct {
		Alerts []wireAlert `json:"alerts"`
	}
)

// wireReport is an attempt's report. Manifest is of the sealed outputs, ""
// when none are: their manifest is asked for on its own, for it may be large.
type wireReport struct {
	Attempt    string        `json:"attempt"`
	State      string        `json:"state"`
	Outcome    string        `json:"outcome"`
	ExitCode   int           `json:"exit_code"`
	Code       string        `json:"code"`
	Waiting    wireWaiting   `json:"waiting"`
	GPUSeconds int64         `json:"gpu_seconds"`
	CPUSeconds int64         `json:"cpu_seconds"`
	ElapsedUS  int64         `json:"elapsed_us"`
	Method     string        `json:"usage_method"`
	Manifest   broker.Digest `json:"manifest"`
	Inline     []byte        `json:"manifest_bytes"` // of a small one
	StartedAt  string        `json:"started_at"`
	FinishedAt string        `json:"finished_at"`
	At         string        `json:"at"`
}

type wireWaiting struct {
	Code  string `json:"code"`
	Words string `json:"words"`
	Start string `json:"start"`
}

type wireAlert struct {
	ID      string `json:"id"`
	Code    string `json:"code"`
	Method  string `json:"method"`
	Attempt string `json:"attempt"`
	Key     string `json:"key"`
	Detail  string `json:"detail"`
	Count   int64  `json:"count"`
	First   string `json:"first"`
	Last    string `json:"last"`
}

// readStrict reads a body of the one form that its version has.
func readStrict[T any](b []byte) (T, error) {
	var v T
	if err := json.Unmarshal(b, &v, json.RejectUnknownMembers(true)); err != nil {
		return v, err
	}
	again, err := json.Marshal(v)
	if err != nil {
		return v, err
	}
	if !bytes.Equal(again, b) {
		return v, errors.New("another encoding of the same body")
	}
	return v, nil
}

func attemptID(s string) (broker.AttemptID, error) {
	if !validName(s) {
		return "", fmt.Errorf("attempt %q", clean(s))
	}
	return broker.AttemptID(s), nil
}

func newWireReport(r broker.AttemptReport) wireReport {
	w := wireReport{
		Attempt: string(r.Attempt), State: string(r.State), Outcome: string(r.Outcome), ExitCode: r.ExitCode,
		Code:       clean(r.Code),
		Waiting:    wireWaiting{Code: string(r.Waiting.Code), Words: r.Waiting.Words, Start: stamp(r.Waiting.Start)},
		GPUSeconds: r.Usage.GPUSeconds, CPUSeconds: r.Usage.CPUSeconds, ElapsedUS: r.Usage.Elapsed.Microseconds(), Method: clean(r.Usage.Method),
		StartedAt: stamp(r.StartedAt), FinishedAt: stamp(r.FinishedAt), At: stamp(r.At),
	}
	if r.Outputs != nil {
		w.Manifest = r.Outputs.Digest
	}
	return w
}

// report reads what a site says. States and outcomes that are not ours are an
// error: whoever asked must not take them for something else.
func (w wireReport) report() (broker.AttemptReport, error) {
	state, outcome := broker.AttemptState(w.State), broker.Outcome(w.Outcome)
	switch {
	case !validName(w.Attempt):
		return broker.AttemptReport{}, errors.New("a report without an attempt")
	case !slices.Contains(broker.AttemptStates(), state) || outcome != "" && !slices.Contains(broker.Outcomes(), outcome):
		return broker.AttemptReport{}, fmt.Errorf("a report of state %q, outcome %q", w.State, w.Outcome)
	case (state == broker.AttemptDone) != (outcome != ""):
		return broker.AttemptReport{}, errors.New("a report is done if it has an outcome")
	case w.GPUSeconds < 0 || w.CPUSeconds < 0 || w.ElapsedUS < 0 || w.ElapsedUS > int64(100*365*24*time.Hour/time.Microsecond):
		return broker.AttemptReport{}, errors.New("a report of a usage that cannot be")
	case w.Manifest != "" && !w.Manifest.Valid():
		return broker.AttemptReport{}, errors.New("a report's manifest has no digest")
	}
	r := broker.AttemptReport{
		Attempt: broker.AttemptID(w.Attempt), State: state, Outcome: outcome, ExitCode: w.ExitCode, Code: clean(w.Code),
		Usage: broker.Usage{
			GPUSeconds: w.GPUSeconds, CPUSeconds: w.CPUSeconds, Elapsed: time.Duration(w.ElapsedUS) * time.Microsecond, Method: w.Method,
		},
	}
	var start time.Time
	err := errors.Join(unstamp(w.Waiting.Start, &start), unstamp(w.StartedAt, &r.StartedAt), unstamp(w.FinishedAt, &r.FinishedAt), unstamp(w.At, &r.At))
	if w.Waiting != (wireWaiting{}) {
		r.Waiting = broker.Wait(broker.WaitCode(w.Waiting.Code), w.Waiting.Words, start)
	}
	return r, err
}

func (w wireAlert) alert(site broker.SiteID) (broker.SiteAlert, error) {
	a := broker.SiteAlert{
		ID: broker.AlertID(w.ID), Site: site, Code: w.Code, Method: w.Method, Attempt: broker.AttemptID(w.Attempt), Key: w.Key,
		Detail: w.Detail, Count: w.Count,
	}
	switch {
	case !broker.ValidID("alr", w.ID) || w.Count < 1:
		return a, errors.New("an alert without an id or a count")
	case !validName(w.Code) || w.Method != "" && !validName(w.Method) || w.Attempt != "" && !validName(w.Attempt) || w.Key != "" && !validName(w.Key):
		return a, errors.New("an alert's names are no names")
	case w.Detail != clean(w.Detail):
		return a, errors.New("an alert's text is no text")
	}
	err := errors.Join(unstamp(w.First, &a.First), unstamp(w.Last, &a.Last))
	return a, err
}

func newWireAlert(a broker.SiteAlert) wireAlert {
	return wireAlert{
		ID: string(a.ID), Code: a.Code, Method: a.Method, Attempt: string(a.Attempt), Key: a.Key, Detail: a.Detail,
		Count: a.Count, First: stamp(a.First), Last: stamp(a.Last),
	}
}

// stamp writes a time, "" for none.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(stampLayout)
}

func unstamp(s string, t *time.Time) error {
	if s == "" {
		return nil
	}
	v, err := time.Parse(stampLayout, s)
	if err != nil {
		return fmt.Errorf("time: %w", err)
	}
	*t = v
	return nil
}
