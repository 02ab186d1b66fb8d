package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/httpapi"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
	"github.com/valico-hpc/valico/broker/store/storetest"
)

func submitBody(t *testing.T) string {
	t.Helper()
	b, err := json.Marshal(wire.NewJobSpec(storetest.Spec("job", 1)))
	require.NoError(t, err)
	return string(b)
}

func TestInternalCauseIsNeverShown(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"foreign":  fmt.Errorf("record the admission: %w", errSecret),
		"internal": &broker.Error{Kind: broker.KindInternal, Code: "x", Message: "wrote password=hunter2", Value: "hunter2", Err: errSecret},
		"invalid":  &broker.Error{Kind: broker.KindInvalid, Code: "x", Message: "no", Err: errSecret},
		"down":     &broker.Error{Kind: broker.KindUnavailable, Code: "x", Message: "down", Err: errSecret},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.admission.err = err
			res, body := b.call(t, b.dev, http.MethodPost, "/v1/jobs", submitBody(t), "Idempotency-Key", "k1")
			require.Equal(t, wire.Status(broker.KindOf(err)), res.StatusCode)
			require.Equal(t, wire.ProblemType, res.Header.Get("Content-Type"))
			for _, secret := range []string{"hunter2", "pq:", "10.0.0.7"} {
				require.NotContains(t, body, secret)
			}
			if res.StatusCode >= 500 {
				require.Contains(t, b.log.String(), "hunter2", "the cause is in the log")
			}
			var p wire.Problem
			require.NoError(t, json.Unmarshal([]byte(body), &p))
			require.Equal(t, res.Header.Get("X-Request-Id"), p.Instance)
		})
	}
}

func TestAPanicIsAnInternalError(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.admission.boom = true
	res, body := b.call(t, b.dev, http.MethodPost, "/v1/jobs", submitBody(t), "Idempotency-Key", "k1")
	require.Equal(t, http.StatusInternalServerError, res.StatusCode)
	require.Equal(t, wire.ProblemType, res.Header.Get("Content-Type"))
	require.NotContains(t, body, "hunter2")
	require.Contains(t, b.log.String(), "hunter2")
	res, _ = b.call(t, b.dev, http.MethodGet, "/v1/jobs", "")
	require.Equal(t, http.StatusOK, res.StatusCode, "the server goes on")
}

func TestNotAdmittedCarriesReasonsAndDecision(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.admission.err = &broker.Error{
		Kind: broker.KindNotAdmitted, Code: "not_admitted", Message: "not admitted", Value: "job_1", Decision: "dec_1",
		Reasons: []broker.Reason{{Code: "purpose", Basis: "permit_condition", Path: "job.purpose", Params: map[string]string{"have": "53(1)(f)"}}},
	}
	_, err := b.as(t, b.dev).Submit(t.Context(), storetest.Spec("job", 1), "k1")
	require.Equal(t, b.admission.err, err, "the client gives the error back whole")
}

func TestEveryFieldAtFaultIsNamedInOneForm(t *testing.T) {
	t.Parallel()
	b := setup(t)
	good := submitBody(t)
	for name, c := range map[string]struct {
		body   string
		status int
		says   string
	}{
		"unknown member":  {strings.Replace(good, `"name":"job"`, `"name":"job","named":"x"`, 1), 422, "body.named"},
		"repeated member": {strings.Replace(good, `"name":"job"`, `"name":"job","name":"x"`, 1), 400, "body"},
		"wrong type":      {strings.Replace(good, `"nodes":1`, `"nodes":"1"`, 1), 422, "body.resources.nodes"},
		"out of bounds":   {strings.Replace(good, `"nodes":1`, `"nodes":0`, 1), 422, "body.resources.nodes"},
		"no JSON":         {"{", 400, "body"},
		"too large":       {`{"name":"` + strings.Repeat("x", 2<<20) + `"}`, 413, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			res, body := b.call(t, b.dev, http.MethodPost, "/v1/jobs", c.body, "Idempotency-Key", "k1")
			require.Equal(t, c.status, res.StatusCode, body)
			require.Equal(t, wire.ProblemType, res.Header.Get("Content-Type"))
			var p wire.Problem
			require.NoError(t, json.Unmarshal([]byte(body), &p))
			require.Equal(t, wire.ProblemBase+"invalid", p.Type)
			require.Equal(t, c.status, p.Status)
			require.NotEmpty(t, p.Instance)
			if c.says != "" {
				require.Contains(t, body, `"field":"`+c.says)
			}
		})
	}
}

func TestAnIdempotencyKeyIsRequiredAndHasAForm(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, key := range []string{"", "a b", strings.Repeat("k", 129), "schlüssel"} {
		var headers []string
		if key != "" {
			headers = []string{"Idempotency-Key", key}
		}
		res, body := b.call(t, b.dev, http.MethodPost, "/v1/jobs", submitBody(t), headers...)
		require.Equal(t, http.StatusUnprocessableEntity, res.StatusCode, "%q: %s", key, body)
	}
	res, body := b.call(t, b.dev, http.MethodPost, "/v1/jobs", submitBody(t), "Idempotency-Key", strings.Repeat("~", 128))
	require.Equal(t, http.StatusCreated, res.StatusCode, body)
	require.Equal(t, strings.Repeat("~", 128), b.admission.seen.IdempotencyKey)
}

func TestHowAPersonSignedInIsToldTruthfully(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.as(t, b.dev).Submit(t.Context(), storetest.Spec("job", 1), "k1")
	require.NoError(t, err)
	require.Equal(t, "local_token", b.admission.seen.Principal.Method)
	require.False(t, b.admission.seen.Principal.MFA)
	require.Equal(t, b.Person.ID, b.admission.seen.Principal.Person.ID)
	require.Equal(t, storetest.Spec("job", 1), b.admission.seen.Spec)
}

func TestUnknownRoutesAreProblemsToo(t *testing.T) {
	t.Parallel()
	b := setup(t)
	res, body := b.call(t, b.dev, http.MethodGet, "/v2/nothing", "")
	require.Equal(t, http.StatusNotFound, res.StatusCode)
	require.Contains(t, body, "route_unknown")
}

func TestASecretHasOneForm(t *testing.T) {
	t.Parallel()
	s, hash := httpapi.NewSecret()
	require.Len(t, string(s), 47)
	require.True(t, strings.HasPrefix(string(s), "vlc_"))
	require.Equal(t, hash, httpapi.HashSecret(s))
	other, _ := httpapi.NewSecret()
	require.NotEqual(t, string(s), string(other))
}
