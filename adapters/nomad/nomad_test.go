package nomad_test

import (
	"compress/gzip"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/agent"
	"github.com/valico-hpc/valico/adapters/nomad"
	"github.com/valico-hpc/valico/broker"
)

// scripted is a Nomad that answers as it is told.
type scripted struct {
	mu     sync.Mutex
	answer map[string]http.HandlerFunc // by method and path
	tokens []string
	writes []string // paths of what would change something
}

func (s *scripted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.tokens = append(s.tokens, r.Header.Get("X-Nomad-Token"))
	if r.Method != http.MethodGet {
		s.writes = append(s.writes, r.Method+" "+r.URL.Path)
	}
	h := s.answer[r.Method+" "+r.URL.Path]
	s.mu.Unlock()
	if h == nil {
		http.Error(w, "job not found", http.StatusNotFound)
		return
	}
	h(w, r)
}

func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func fake(t *testing.T, answer map[string]http.HandlerFunc) (*nomad.Scheduler, *scripted) {
	t.Helper()
	return patient(t, 10*time.Second, answer)
}

// patient waits longer for an answer.
func patient(t *testing.T, d time.Duration, answer map[string]http.HandlerFunc) (*nomad.Scheduler, *scripted) {
	t.Helper()
	sc := &scripted{answer: answer}
	return told(t, d, sc, nil), sc
}

func told(t *testing.T, d time.Duration, sc *scripted, unknown func()) *nomad.Scheduler {
	t.Helper()
	srv := httptest.NewServer(sc)
	t.Cleanup(srv.Close)
	token := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(token, []byte("secret\n"), 0o600))
	s, err := nomad.New(nomad.Config{Address: srv.URL, TokenFile: token, Accounts: []string{"person"}, CallTimeout: d, UID: uids, OnUnknown: unknown})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// uids are the accounts of these tests; "toor" is root by another name.
func uids(account string) (int, error) {
	n, ok := map[string]int{"person": 2000, "another": 2001, "root": 0, "toor": 0, "daemon": 1}[account]
	if !ok {
		return 0, errors.New("no such account")
	}
	return n, nil
}

func sample() broker.Launch {
	return broker.Launch{
		Name: "a1", Account: "person", OrderDigest: broker.DigestOf([]byte("order")), Dir: "/site/a1", Argv: []string{"/opt/run", "--order", "x"},
		Resources: broker.Resources{Nodes: 1, GPUsPerNode: 1, Walltime: time.Minute},
	}
}

// stored is the sample launch as Nomad stores it.
func stored(extra string) string {
	return `{"ID":"a1","Status":"running","Stop":false,"Meta":{"account":"person","order":"` + string(sample().OrderDigest) + `"},"TaskGroups":[{"Count":1,
	"RestartPolicy":{"Attempts":0,"Mode":"fail"},"ReschedulePolicy":{"Attempts":0,"Unlimited":false},"Tasks":[{"Name":"main","Driver":"raw_exec","User":"person",
	"Config":{"command":"/opt/run"},"Resources":{"Devices":[{"Name":"gpu","Count":1}]}}]}]` + extra + `}`
}

func TestErrorsOfNomadAreToldApart(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		kind   broker.Kind
		code   string
	}{
		{"a token that is refused", says(403, "Permission denied"), broker.KindUnavailable, "scheduler_token_refused"},
		{"no leader", says(500, "No cluster leader"), broker.KindUnavailable, "scheduler_unavailable"},
		{"no region", says(500, "No path to region"), broker.KindUnavailable, "scheduler_unavailable"},
		{"overload", says(429, "rate limit"), broker.KindUnavailable, "scheduler_unavailable"},
		{"a gateway", says(502, "<html>bad gateway</html>"), broker.KindUnavailable, "scheduler_unavailable"},
		{"an invalid job", says(500, "1 error occurred:\n\t* Missing job datacenters"), broker.KindInvalid, "nomad_refused"},
		{"no namespace", says(500, `job "a1" is in nonexistent namespace "x"`), broker.KindInvalid, "nomad_refused"},
		{"too large", says(413, "too large"), broker.KindInvalid, "nomad_refused"},
		{"no JSON", says(200, "{"), broker.KindUnavailable, "scheduler_unavailable"},
		{"a hang", func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		}, broker.KindUnavailable, "scheduler_unavailable"},
		{"a connection that breaks", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, broker.KindUnavailable, "scheduler_unavailable"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, _ := fake(t, map[string]http.HandlerFunc{"PUT /v1/jobs": c.answer})
			err := s.Submit(t.Context(), sample())
			require.Equal(t, c.kind, broker.KindOf(err), "%v", err)
			require.Equal(t, c.code, broker.CodeOf(err))
		})
	}
}

func TestAnAnswerWithoutAnEndIsNotRead(t *testing.T) {
	t.Parallel()
	endless := func(w io.Writer) {
		_, _ = io.WriteString(w, `{"ID":"`)
		chunk := strings.Repeat("x", 1<<20)
		for range 100 {
			if _, err := io.WriteString(w, chunk); err != nil {
				return
			}
		}
	}
	for name, answer := range map[string]http.HandlerFunc{
		"as it is": func(w http.ResponseWriter, _ *http.Request) { endless(w) },
		"compressed to a thousandth": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			endless(z)
			_ = z.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _ := patient(t, time.Minute, map[string]http.HandlerFunc{"GET /v1/job/a1": answer})
			_, err := s.Find(t.Context(), sample())
			require.Equal(t, broker.KindUnavailable, broker.KindOf(err), "%v", err)
			require.ErrorContains(t, errors.Unwrap(err), "too long")
		})
	}
}

func TestARequestBeyondTheBoundIsNotSent(t *testing.T) {
	t.Parallel()
	s, site := fake(t, map[string]http.HandlerFunc{"GET /v1/job/a1": says(200, stored(""))})
	l := sample()
	l.Argv = append(l.Argv, strings.Repeat("x", 1<<20))
	err := s.Submit(t.Context(), l)
	require.Equal(t, broker.KindInvalid, broker.KindOf(err), "%v", err)
	require.Equal(t, "nomad_refused", broker.CodeOf(err))
	require.ErrorContains(t, errors.Unwrap(err), "1048576 bytes")
	site.mu.Lock()
	defer site.mu.Unlock()
	require.Empty(t, site.writes)
}

func TestTheTokenDoesNotFollowARedirect(t *testing.T) {
	t.Parallel()
	thief := &scripted{}
	elsewhere := httptest.NewServer(thief)
	t.Cleanup(elsewhere.Close)
	s, _ := fake(t, map[string]http.HandlerFunc{"GET /v1/job/a1": func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL+r.URL.Path, http.StatusTemporaryRedirect)
	}})
	_, err := s.Find(t.Context(), sample())
	require.Equal(t, broker.KindUnavailable, broker.KindOf(err), "%v", err)
	thief.mu.Lock()
	defer thief.mu.Unlock()
	require.Empty(t, thief.tokens)
}

func TestAJobThatNomadHoldsOtherwiseIsEndedAndRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, old, new, code string }{
		{"no GPUs", `"Devices":[{"Name":"gpu","Count":1}]`, `"Devices":null`, "gpus_not_granted"},
		{"more GPUs", `"Count":1}]`, `"Count":8}]`, "gpus_not_granted"},
		{"another program", `"/opt/run"`, `"/bin/sh"`, "launch_altered"},
		{"restarts", `"RestartPolicy":{"Attempts":0`, `"RestartPolicy":{"Attempts":3`, "launch_altered"},
		{"restarts for ever", `"Mode":"fail"`, `"Mode":"delay"`, "launch_altered"},
		{"reschedules", `"ReschedulePolicy":{"Attempts":0`, `"ReschedulePolicy":{"Attempts":1`, "launch_altered"},
		{"reschedules for ever", `"Unlimited":false`, `"Unlimited":true`, "launch_altered"},
		{"two of it", `{"Count":1,`, `{"Count":2,`, "launch_altered"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ended := make(chan struct{}, 1)
			require.Contains(t, stored(""), c.old)
			s, _ := fake(t, map[string]http.HandlerFunc{
				"PUT /v1/jobs":   says(500, "Enforcing job modify index 0: job already exists"),
				"GET /v1/job/a1": says(200, strings.Replace(stored(""), c.old, c.new, 1)),
				"DELETE /v1/job/a1": func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Query().Get("purge") == "false" {
						ended <- struct{}{}
					}
					_, _ = io.WriteString(w, `{}`)
				},
			})
			require.Equal(t, c.code, broker.CodeOf(s.Submit(t.Context(), sample())))
			require.Len(t, ended, 1)
		})
	}
}

func TestALostNodeEndsTheJobBeforeAReplacementStarts(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	stopped := false
	answer := map[string]http.HandlerFunc{
		"GET /v1/job/a1": func(w http.ResponseWriter, _ *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			body := stored("")
			if stopped {
				body = strings.Replace(body, `"Stop":false`, `"Stop":true`, 1)
			}
			_, _ = io.WriteString(w, body)
		},
		"DELETE /v1/job/a1": func(w http.ResponseWriter, _ *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			stopped = true
			_, _ = io.WriteString(w, `{}`)
		},
		"GET /v1/evaluations": says(200, `[]`),
		"GET /v1/allocations": says(200, `[{"ID":"x","Namespace":"default","JobID":"a1","ClientStatus":"lost","DesiredStatus":"stop","CreateIndex":7,
			"AllocatedResources":{"Tasks":{"main":{"Devices":[{"Type":"gpu","DeviceIDs":["0"]}]}}}}]`),
	}
	s, _ := fake(t, answer)
	st, err := s.Find(t.Context(), sample())
	require.NoError(t, err)
	require.Equal(t, agent.SchedulerEnding, st.State)
	st, err = s.Find(t.Context(), sample())
	require.NoError(t, err)
	require.Equal(t, agent.SchedulerEnded, st.State)
	require.Equal(t, broker.OutcomeNodeFail, st.Outcome)
}

func TestAnUnknownWordIsCountedAndWatchedOn(t *testing.T) {
	t.Parallel()
	unknown := 0
	s := told(t, 500*time.Millisecond, &scripted{answer: map[string]http.HandlerFunc{
		"GET /v1/jobs":        says(200, `[{"ID":"a1","Namespace":"default","Status":"running","Meta":{"account":"person","order":"`+string(sample().OrderDigest)+`"}}]`),
		"GET /v1/evaluations": says(200, `[]`),
		"GET /v1/allocations": says(200, `[{"ID":"x","Namespace":"default","JobID":"a1","ClientStatus":"dreaming","DesiredStatus":"run"}]`),
	}}, func() { unknown++ })
	sts, err := s.Watch(t.Context(), []broker.Launch{sample()})
	require.NoError(t, err)
	require.Equal(t, agent.SchedulerUnknown, sts[0].State)
	require.Equal(t, 1, unknown)
}

func TestWhatNomadWouldReplaceOrLeaveOpenIsRefused(t *testing.T) {
	t.Parallel()
	s, sc := fake(t, nil)
	for name, change := range map[string]func(*broker.Launch){
		"a path in the name":       func(l *broker.Launch) { l.Name = "a/b" },
		"no digest":                func(l *broker.Launch) { l.OrderDigest = "x" },
		"a relative program":       func(l *broker.Launch) { l.Argv = []string{"run"} },
		"no program":               func(l *broker.Launch) { l.Argv = nil },
		"interpolation":            func(l *broker.Launch) { l.Argv = append(l.Argv, "${NOMAD_SECRETS_DIR}") },
		"a template":               func(l *broker.Launch) { l.Argv = append(l.Argv, "%{if true}") },
		"two lines":                func(l *broker.Launch) { l.Argv = append(l.Argv, "a\nb") },
		"interpolation in a value": func(l *broker.Launch) { l.Env = []broker.EnvVar{{Name: "A", Value: "${attr.x}"}} },
		"the loader's variable":    func(l *broker.Launch) { l.Env = []broker.EnvVar{{Name: "LD_PRELOAD", Value: "x"}} },
		"Nomad's variable":         func(l *broker.Launch) { l.Env = []broker.EnvVar{{Name: "NOMAD_TOKEN", Value: "x"}} },
		"PATH":                     func(l *broker.Launch) { l.Env = []broker.EnvVar{{Name: "PATH", Value: "x"}} },
		"two nodes":                func(l *broker.Launch) { l.Resources.Nodes = 2 },
		"no walltime":              func(l *broker.Launch) { l.Resources.Walltime = 0 },
		"a relative folder":        func(l *broker.Launch) { l.Dir = "x" },
		"a GPU type with a brace":  func(l *broker.Launch) { l.Resources.GPUType = "${x}" },
		"an account that is none":  func(l *broker.Launch) { l.Account = "root" },
	} {
		l := sample()
		change(&l)
		require.Equal(t, broker.KindInvalid, broker.KindOf(s.Submit(t.Context(), l)), name)
	}
	sc.mu.Lock()
	defer sc.mu.Unlock()
	require.Empty(t, sc.writes)
}

func TestSettingsThatAreNotSafeAreRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]nomad.Config{
		"no account":             {Address: "http://127.0.0.1:1"},
		"root":                   {Address: "http://127.0.0.1:1", Accounts: []string{"root"}},
		"root by another name":   {Address: "http://127.0.0.1:1", Accounts: []string{"person", "toor"}},
		"a system account":       {Address: "http://127.0.0.1:1", Accounts: []string{"daemon"}},
		"an account that is not": {Address: "http://127.0.0.1:1", Accounts: []string{"nobody knows"}},
		"an account that is two": {Address: "http://127.0.0.1:1", Accounts: []string{"a b"}},
		"clear text":             {Address: "http://nomad.example:4646", Accounts: []string{"person"}},
		"no address":             {Accounts: []string{"person"}},
		"another protocol":       {Address: "ftp://127.0.0.1", Accounts: []string{"person"}},
		"every namespace":        {Address: "http://127.0.0.1:1", Accounts: []string{"person"}, Namespace: "*"},
		"two kinds of namespace": {Address: "http://127.0.0.1:1", Accounts: []string{"person"}, Namespace: "a", Namespaces: map[string]string{"person": "b"}},
		"an account without one": {Address: "http://127.0.0.1:1", Accounts: []string{"person"}, Namespaces: map[string]string{"other": "b"}},
		"one that is a filter":   {Address: "http://127.0.0.1:1", Accounts: []string{"person"}, Namespaces: map[string]string{"person": "*"}},
		"no CA":                  {Address: "https://nomad.example", Accounts: []string{"person"}, TLS: nomad.TLS{CACert: "/no/such/file"}},
	} {
		c.UID = uids
		_, err := nomad.New(c)
		require.Error(t, err, name)
	}
}

func TestAServerIsTrustedByTheSitesCAAlone(t *testing.T) {
	t.Parallel()
	srv := httptest.NewTLSServer(&scripted{})
	t.Cleanup(srv.Close)
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.pem")
	require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600))
	for pinned, want := range map[string]broker.Kind{ca: broker.KindNotFound, "": broker.KindUnavailable} {
		s, err := nomad.New(nomad.Config{Address: srv.URL, TLS: nomad.TLS{CACert: pinned}, Accounts: []string{"person"}, UID: uids})
		require.NoError(t, err)
		_, err = s.Find(t.Context(), sample())
		require.Equal(t, want, broker.KindOf(err), "%q: %v", pinned, err)
		require.NoError(t, s.Close())
	}
}

func TestAReplacementThatCannotBeEndedHidesNoOtherLaunch(t *testing.T) {
	t.Parallel()
	other := sample()
	other.Name = "b2"
	s, _ := fake(t, map[string]http.HandlerFunc{
		"GET /v1/jobs": says(200, `[{"ID":"a1","Namespace":"default","Status":"running","Meta":{"account":"person","order":"`+string(sample().OrderDigest)+`"}},
			{"ID":"b2","Namespace":"default","Status":"running","Meta":{"account":"person","order":"`+string(sample().OrderDigest)+`"}}]`),
		"GET /v1/evaluations": says(200, `[]`),
		"GET /v1/allocations": says(200, `[{"ID":"x","Namespace":"default","JobID":"a1","ClientStatus":"lost","DesiredStatus":"stop"},
			{"ID":"y","Namespace":"default","JobID":"b2","ClientStatus":"running","DesiredStatus":"run"}]`),
		"DELETE /v1/job/a1": says(500, "No cluster leader"),
	})
	sts, err := s.Watch(t.Context(), []broker.Launch{sample(), other})
	require.NoError(t, err)
	require.Len(t, sts, 2)
	require.Equal(t, agent.SchedulerEnding, sts[0].State)
	require.Equal(t, agent.SchedulerRunning, sts[1].State)
}

func TestAJobOfOurNameAndOrderUnderAnotherAccountIsNotWatched(t *testing.T) {
	t.Parallel()
	s, _ := fake(t, map[string]http.HandlerFunc{
		"GET /v1/jobs":        says(200, `[{"ID":"a1","Namespace":"default","Status":"running","Meta":{"account":"another","order":"`+string(sample().OrderDigest)+`"}}]`),
		"GET /v1/evaluations": says(200, `[]`),
		"GET /v1/allocations": says(200, `[]`),
	})
	sts, err := s.Watch(t.Context(), []broker.Launch{sample()})
	require.NoError(t, err)
	require.Empty(t, sts)
}
