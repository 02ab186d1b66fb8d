package link

import (
	"bytes"
	"crypto"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/images/dsse"
)

func newKey(tb testing.TB) crypto.Signer {
	tb.Helper()
	k, err := dsse.GenerateKey()
	require.NoError(tb, err)
	return k
}

// FuzzMessage holds that no bytes bring a reader down, and that what is read is
// the one encoding of what it says: nobody can send two readings of one message.
func FuzzMessage(f *testing.F) {
	key := newKey(f)
	at := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	req, err := SignRequest(NewRequest("site_one", MethodStop, []byte(`{"attempt":"att_one"}`), at), key)
	require.NoError(f, err)
	ans, err := SignAnswer(Answer{Version: Version, Site: "site_one", Request: broker.DigestOf(req), At: at, Body: broker.DigestOf(nil), Err: broker.NotFound("x", "y")}, key)
	require.NoError(f, err)
	for _, e := range [][]byte{req, ans} {
		b, err := frame(e, []byte(`{"attempt":"att_one"}`))
		require.NoError(f, err)
		f.Add(b)
	}
	for _, v := range []any{
		reportsAnswer{Reports: []wireReport{newWireReport(broker.AttemptReport{
			Attempt: "att_one", State: broker.AttemptQueued, Waiting: broker.Wait(broker.WaitUnknown, "why", at), At: at,
		})}},
		chunkAnswer{Digest: broker.DigestOf(nil), Last: true, Bytes: []byte{1}},
		alertsAnswer{Alerts: []wireAlert{newWireAlert(broker.SiteAlert{ID: broker.NewID[broker.AlertID]("alr"), Code: CodeReplay, Count: 1, First: at, Last: at})}},
		describeAnswer{MinVersion: 1, MaxVersion: 1},
		reportsBody{Attempts: []string{"att_one"}},
		readBody{Path: "a"},
		releaseBody{Envelope: []byte("e")},
	} {
		b, err := json.Marshal(v)
		require.NoError(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if envelope, body, err := unframe(b); err == nil {
			again, err := frame(envelope, body)
			require.NoError(t, err)
			require.Equal(t, b, again)
			if e, err := dsse.Parse(envelope); err == nil {
				fuzzStatements(t, e)
			}
		}
		fuzzStatements(t, dsse.Envelope{PayloadType: RequestType, Payload: b})
		fuzzBodies(t, b)
	})
}

func fuzzStatements(t *testing.T, e dsse.Envelope) {
	t.Helper()
	if r, err := decodeRequest(e); err == nil {
		again, err := r.encode()
		require.NoError(t, err)
		require.Equal(t, e.Payload, again)
		require.True(t, r.Method.known() && validName(string(r.Site)) && r.Body.Valid())
	}
	if a, err := decodeAnswer(e.Payload); err == nil {
		again, err := a.encode()
		require.NoError(t, err)
		require.Equal(t, e.Payload, again)
	}
}

func fuzzBodies(t *testing.T, b []byte) {
	t.Helper()
	if a, err := readStrict[reportsAnswer](b); err == nil {
		for _, w := range a.Reports {
			if r, err := w.report(); err == nil {
				require.Equal(t, r.State == broker.AttemptDone, r.Outcome != "")
				require.True(t, validName(string(r.Attempt)))
			}
		}
	}
	if a, err := readStrict[alertsAnswer](b); err == nil {
		for _, w := range a.Alerts {
			if al, err := w.alert("site_one"); err == nil {
				require.Positive(t, al.Count)
				require.Equal(t, al.Detail, clean(al.Detail))
			}
		}
	}
	for _, read := range []func([]byte) error{
		reads[chunkAnswer], reads[describeAnswer], reads[stopBody], reads[reportsBody], reads[manifestBody],
		reads[releaseBody], reads[readBody], reads[alertsBody],
	} {
		_ = read(b) // must return
	}
}

func reads[T any](b []byte) error {
	_, err := readStrict[T](b)
	return err
}

func TestEveryReportSurvivesTheWay(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 2, 9, 0, 0, 123456000, time.UTC)
	for _, s := range broker.AttemptStates() {
		for _, o := range append(broker.Outcomes(), "") {
			in := broker.AttemptReport{
				Attempt: "att_one", State: s, Outcome: o, ExitCode: -1, Code: "code", Waiting: broker.Wait(broker.WaitUnknown, "in a queue", at),
				Usage: broker.Usage{GPUSeconds: 1, CPUSeconds: 2, Elapsed: 3 * time.Microsecond, Method: "slurmdb"}, StartedAt: at, FinishedAt: at, At: at,
			}
			out, err := newWireReport(in).report()
			if (s == broker.AttemptDone) != (o != "") {
				require.Error(t, err)
				continue
			}
			require.NoError(t, err)
			in.Waiting.Start = out.Waiting.Start // whole seconds
			require.Equal(t, in, out)
		}
	}
	for _, bad := range []func(*wireReport){
		func(w *wireReport) { w.State = "flying" }, func(w *wireReport) { w.Outcome = "great" }, func(w *wireReport) { w.Attempt = "a/b" },
		func(w *wireReport) { w.GPUSeconds = -1 }, func(w *wireReport) { w.ElapsedUS = 1 << 62 }, func(w *wireReport) { w.Manifest = "sha256:1" },
		func(w *wireReport) { w.At = "yesterday" }, func(w *wireReport) { w.StartedAt = "2026" },
	} {
		w := newWireReport(broker.AttemptReport{Attempt: "att_one", State: broker.AttemptRunning, At: at})
		bad(&w)
		_, err := w.report()
		require.Error(t, err)
	}
}

func TestAnErrorSurvivesTheWayWithoutItsCause(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	req := []byte("request")
	send := func(err error) *broker.Error {
		e, bad := newWireError(err).error()
		require.NoError(t, bad)
		b, signErr := SignAnswer(Answer{Version: Version, Site: "s", Request: broker.DigestOf(req), At: time.Now(), Err: e, Body: broker.DigestOf(nil)}, key)
		require.NoError(t, signErr)
		a, readErr := VerifyAnswer(b, req, "s", key.Public())
		require.NoError(t, readErr)
		return a.Err
	}
	in := &broker.Error{Kind: broker.KindForbidden, Code: "c", Message: "m", Rule: "r", Value: "v", Help: "h", Who: "w", Err: bytes.ErrTooLarge}
	want := *in
	want.Err = nil
	require.Equal(t, &want, send(in))
	require.Equal(t, broker.KindInternal, send(bytes.ErrTooLarge).Kind)
	require.NotContains(t, send(bytes.ErrTooLarge).Error(), bytes.ErrTooLarge.Error())
	long := send(&broker.Error{Kind: broker.KindInvalid, Message: strings.Repeat("é", 4000) + "\x00\xff"})
	require.LessOrEqual(t, len(long.Message), maxErrorText)
	_, err := (&wireError{Kind: "made-up"}).error()
	require.Error(t, err)
	_, err = (&wireError{Kind: "invalid", Message: "two\nlines"}).error()
	require.Error(t, err)
}

func TestAMethodThatIsNotListedIsTakenAsChangingSomething(t *testing.T) {
	t.Parallel()
	require.True(t, Method("mint").changes())
	for _, m := range Methods() {
		require.True(t, m.known())
		only := m == MethodDescribe || m == MethodReports || m == MethodManifest || m == MethodRead
		require.Equal(t, !only, m.changes(), m)
	}
}
