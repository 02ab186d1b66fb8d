package client_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/client"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
)

const token = broker.Secret("vlc_hunter2hunter2hunter2hunter2hunter2hunter2hun")

func serve(t *testing.T, h http.HandlerFunc) *client.Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c, err := client.New(client.Config{Server: s.URL, Token: token})
	require.NoError(t, err)
	return c
}

func problem(w http.ResponseWriter, err error) {
	p := wire.ProblemOf(err, "req_1")
	w.Header().Set("Content-Type", wire.ProblemType)
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p)
}

func TestOnlyIdempotentCallsAreRepeated(t *testing.T) {
	t.Parallel()
	var gets, submits, people atomic.Int32
	var keys recorded
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodGet:
			gets.Add(1)
		case r.URL.Path == "/v1/jobs":
			keys.add(r.Header.Get("Idempotency-Key"))
			submits.Add(1)
		default:
			people.Add(1)
		}
		problem(w, &broker.Error{Kind: broker.KindUnavailable, Code: "down", Message: "down"})
	})
	_, err := c.Jobs(t.Context(), "", 0)
	require.Equal(t, "down", broker.CodeOf(err))
	_, err = c.Submit(t.Context(), broker.JobSpec{}, "k1")
	require.Equal(t, "down", broker.CodeOf(err))
	_, err = c.AddPerson(t.Context(), wire.Person{})
	require.Equal(t, "down", broker.CodeOf(err))
	require.Equal(t, []int32{4, 4, 1}, []int32{gets.Load(), submits.Load(), people.Load()})
	require.Equal(t, []string{"k1", "k1", "k1", "k1"}, keys.all(), "a repetition is the same submission")
}

// recorded collects strings from the one handler at a time.
type recorded struct{ keys []string }

func (s *recorded) add(v string)  { s.keys = append(s.keys, v) }
func (s *recorded) all() []string { return s.keys }

func TestWhatTheCallerDidWrongIsNotRepeated(t *testing.T) {
	t.Parallel()
	var n atomic.Int32
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		n.Add(1)
		problem(w, broker.NotFound("job", "job_1"))
	})
	_, err := c.Job(t.Context(), "job_1")
	require.Equal(t, broker.NotFound("job", "job_1"), err)
	require.Equal(t, int32(1), n.Load())
}

func TestTheTokenIsInNoErrorAndGoesNowhereElse(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("followed a redirect with %q", r.Header.Get("Authorization"))
	}))
	t.Cleanup(elsewhere.Close)
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
	})
	_, err := c.Job(t.Context(), "job_1")
	require.Error(t, err)
	require.NotContains(t, fmt.Sprintf("%+v %#v", err, err), "hunter2")

	gone, err := client.New(client.Config{Server: "http://127.0.0.1:1", Token: token})
	require.NoError(t, err)
	_, err = gone.AddPerson(t.Context(), wire.Person{})
	require.Equal(t, broker.KindUnavailable, broker.KindOf(err))
	require.NotContains(t, fmt.Sprintf("%+v %#v", err, err), "hunter2")
	for _, bad := range []string{"http://broker.example", "ftp://x", "https://u:p@broker.example", "", "https://x?y=1"} {
		_, err := client.New(client.Config{Server: bad, Token: token})
		require.Equal(t, broker.KindInvalid, broker.KindOf(err), bad)
	}
}

func TestForeignAnswersAreNotTakenForABrokers(t *testing.T) {
	t.Parallel()
	for status, kind := range map[int]broker.Kind{
		http.StatusBadRequest: broker.KindInternal, http.StatusUnauthorized: broker.KindUnauthenticated,
		http.StatusNotFound: broker.KindNotFound, http.StatusFound: broker.KindInternal, http.StatusTeapot: broker.KindInternal,
	} {
		c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			fmt.Fprint(w, "<html>proxy</html>")
		})
		_, err := c.Job(t.Context(), "job_1")
		require.Equal(t, kind, broker.KindOf(err), "%d", status)
	}
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"id":"a","id":"b"}`) })
	_, err := c.WhoAmI(t.Context())
	require.Equal(t, "answer_broken", broker.CodeOf(err))
}

func event(w io.Writer, cursor int) {
	fmt.Fprintf(w, "id: %d\nevent: metric\ndata: {\"cursor\":%d,\"kind\":\"metric\",\"step\":%d,\"at\":\"2026-11-24T12:00:00Z\"}\n\n", cursor, cursor, cursor)
}

func TestACutStreamIsResumedAndNoEventIsSeenTwice(t *testing.T) {
	t.Parallel()
	var connections atomic.Int32
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch connections.Add(1) {
		case 1:
			event(w, 1)
			event(w, 2)
			fmt.Fprint(w, "id: 3\nevent: metric\nda") // cut within an event
		case 2:
			require.Equal(t, "2", r.Header.Get("Last-Event-ID"))
			panic(http.ErrAbortHandler)
		case 3:
			problem(w, &broker.Error{Kind: broker.KindUnavailable, Code: "down", Message: "down"})
		default:
			require.Equal(t, "2", r.Header.Get("Last-Event-ID"))
			event(w, 2) // a broker that repeats itself
			event(w, 3)
			fmt.Fprint(w, ": alive\n\nid: 3\nevent: done\ndata: {}\n\n")
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var got []int64
	cuts := 0
	err := c.Follow(ctx, "job_1", 0, func(e wire.Event) error {
		got = append(got, e.Cursor)
		return nil
	}, func(error) { cuts++ })
	require.NoError(t, err)
	require.Equal(t, []int64{1, 2, 3}, got)
	require.GreaterOrEqual(t, cuts, 2, "the transport itself repeats a GET whose connection was closed unused")
}

func TestAStreamOfSomeoneElsesJobEndsAtOnce(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) { problem(w, broker.NotFound("job", "job_1")) })
	err := c.Follow(t.Context(), "job_1", 0, func(wire.Event) error { return nil }, nil)
	require.Equal(t, broker.KindNotFound, broker.KindOf(err))
}

func TestAnUploadIsOpenedAgainForEachTry(t *testing.T) {
	t.Parallel()
	var tries atomic.Int32
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if tries.Add(1) == 1 {
			problem(w, &broker.Error{Kind: broker.KindUnavailable, Code: "down", Message: "down"})
			return
		}
		if err != nil || string(b) != "layer" || r.ContentLength != 5 {
			t.Errorf("got %q, %v", b, err)
		}
		w.WriteHeader(http.StatusCreated)
	})
	opened := 0
	require.NoError(t, c.PutBlob(t.Context(), broker.DigestOf([]byte("layer")), 5, func() (io.ReadCloser, error) {
		opened++
		return io.NopCloser(strings.NewReader("layer")), nil
	}))
	require.Equal(t, 2, opened)
}
