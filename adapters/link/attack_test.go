package link_test

import (
	"crypto"
	"encoding/binary"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/adapters/link"
	"github.com/valico-hpc/valico/adapters/order"
	"github.com/valico-hpc/valico/adapters/ordertest"
	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/telemetry"
	"github.com/valico-hpc/valico/images/dsse"
)

// message is a request as an attacker may send it.
func message(envelope, body []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(envelope)))
	return append(append(b, envelope...), body...)
}

func (w *world) signed(r link.Request, key crypto.Signer) []byte {
	w.tb.Helper()
	b, err := link.SignRequest(r, key)
	require.NoError(w.tb, err)
	return b
}

func (w *world) request(m link.Method, body []byte) link.Request {
	return link.NewRequest(siteID, m, body, time.Now().Add(time.Minute))
}

// inject sends as whoever owns NATS does, and returns where answers come.
func (w *world) inject(data []byte) *nats.Subscription {
	w.tb.Helper()
	reply := telemetry.AnswerSubject(siteID, "attacker")
	sub, err := w.conn.SubscribeSync(reply)
	require.NoError(w.tb, err)
	require.NoError(w.tb, w.conn.PublishRequest(telemetry.RequestSubject(siteID), reply, data))
	return sub
}

// refused waits until a code was counted so many times.
func (w *world) refused(code string, n uint64) {
	w.tb.Helper()
	require.Eventually(w.tb, func() bool { return w.resp.Refused()[code] >= n }, patience, 5*time.Millisecond, "%s: %v", code, w.resp.Refused())
}

func encoded(t *testing.T, o broker.SignedOrder) []byte {
	t.Helper()
	b, err := order.Encode(o)
	require.NoError(t, err)
	return b
}

// resign signs an edited request again.
func resign(t *testing.T, envelope []byte, key crypto.Signer, edit func(map[string]any)) []byte {
	t.Helper()
	e, err := dsse.Parse(envelope)
	require.NoError(t, err)
	var v map[string]any
	require.NoError(t, json.Unmarshal(e.Payload, &v))
	edit(v)
	b, err := json.Marshal(v)
	require.NoError(t, err)
	out, err := dsse.Sign(link.RequestType, b, key)
	require.NoError(t, err)
	return out
}

// TestWhoOwnsNATSGetsRefusalsOnly sends everything that is not a fresh request
// of the broker's, once, and expects exactly its own code, an alert at the
// broker, and nothing at the scheduler.
func TestWhoOwnsNATSGetsRefusalsOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.up()
	in := encoded(t, w.issue("att_one"))
	start := func() []byte { return w.signed(w.request(link.MethodStart, in), w.auth.Link) }
	stranger, err := dsse.GenerateKey()
	require.NoError(t, err)
	otherSite, late, ahead := w.request(link.MethodStart, in), w.request(link.MethodStart, in), w.request(link.MethodStart, in)
	otherSite.Site = "site_two"
	late.Deadline = time.Now().Add(-time.Second)
	ahead.Deadline = time.Now().Add(time.Hour)
	broken := []byte(strings.Replace(string(start()), `"sig":"`, `"sig":"AA`, 1))
	statement, err := dsse.Sign(order.PayloadType, []byte("{}"), w.auth.Link)
	require.NoError(t, err)
	huge := binary.BigEndian.AppendUint32(nil, 1<<31)
	tampered := w.signed(w.request(link.MethodStart, in), w.auth.Link)
	wrongSig := func() []byte {
		e, err := dsse.Parse(start())
		require.NoError(t, err)
		other, err := dsse.Parse(start())
		require.NoError(t, err)
		b, err := json.Marshal(map[string]any{"payloadType": e.PayloadType, "payload": e.Payload, "signatures": []any{map[string]any{"keyid": e.KeyID, "sig": other.Sig}}})
		require.NoError(t, err)
		return b
	}
	for _, c := range []struct {
		name, code string
		data       []byte
		answered   bool
	}{
		{"nothing", link.CodeMalformed, nil, false},
		{"no envelope", link.CodeMalformed, []byte{0, 0, 0, 0}, false},
		{"a length of its own", link.CodeMalformed, huge, false},
		{"an envelope cut off", link.CodeMalformed, message(start(), nil)[:100], false},
		{"a broken envelope", link.CodeMalformed, message(broken, in), false},
		{"an oversized envelope", link.CodeMalformed, message(append(start(), make([]byte, link.MaxEnvelope)...), in), false},
		{"a stranger's key", link.CodeKeyUnknown, message(w.signed(w.request(link.MethodStart, in), stranger), in), false},
		{"the stolen order key", link.CodeKeyRole, message(w.signed(w.request(link.MethodStart, in), w.auth.Order), in), false},
		{"the stolen image key", link.CodeKeyRole, message(w.signed(w.request(link.MethodStop, in), w.auth.Image), in), false},
		{"the agent's own key", link.CodeKeyRole, message(w.signed(w.request(link.MethodStart, in), w.key), in), false},
		{"another type of statement", link.CodeStatement, message(statement, in), false},
		{"a signature of another request", link.CodeSignature, message(wrongSig(), in), false},
		{"another version", link.CodeVersion, message(resign(t, start(), w.auth.Link, func(v map[string]any) { v["v"] = 9 }), in), true},
		{"a field that is not known", link.CodeMalformed, message(resign(t, start(), w.auth.Link, func(v map[string]any) { v["more"] = 1 }), in), false},
		{"a field that is missing", link.CodeMalformed, message(resign(t, start(), w.auth.Link, func(v map[string]any) { delete(v, "nonce") }), in), false},
		{"a method that is not known", link.CodeMalformed, message(resign(t, start(), w.auth.Link, func(v map[string]any) { v["method"] = "mint" }), in), false},
		{"for another site", link.CodeWrongSite, message(w.signed(otherSite, w.auth.Link), in), false},
		{"another body", link.CodeBody, message(tampered, append([]byte(nil), in[1:]...)), false},
		{"past its deadline", link.CodeLate, message(w.signed(late, w.auth.Link), in), true},
		{"a deadline far ahead", link.CodeAhead, message(w.signed(ahead, w.auth.Link), in), true},
	} {
		before := w.resp.Refused()
		sub := w.inject(c.data)
		w.refused(c.code, before[c.code]+1)
		if c.answered {
			_, err := sub.NextMsg(patience)
			require.NoError(t, err, c.name)
		} else {
			_, err := sub.NextMsg(20 * time.Millisecond)
			require.ErrorIs(t, err, nats.ErrTimeout, c.name)
		}
		require.NoError(t, sub.Unsubscribe())
		after := w.resp.Refused()
		for code, n := range after {
			want := before[code]
			if code == c.code {
				want++
			}
			require.Equal(t, want, n, "%s: %s", c.name, code)
		}
	}
	require.Zero(t, w.sched.launches())
	run(t, w.site)
	for _, code := range []string{
		link.CodeMalformed, link.CodeKeyUnknown, link.CodeKeyRole, link.CodeStatement, link.CodeSignature, link.CodeVersion,
		link.CodeWrongSite, link.CodeBody, link.CodeLate, link.CodeAhead,
	} {
		require.Eventually(t, func() bool { return w.book.of(code) == int64(w.resp.Refused()[code]) }, patience, 10*time.Millisecond, code)
	}
}

// TestARepeatedRequestIsObeyedOnceAlsoByTheNextProcess captures a genuine
// message and plays it again, before and after the agent is killed.
func TestARepeatedRequestIsObeyedOnceAlsoByTheNextProcess(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.up()
	var mu sync.Mutex
	var caught [][]byte
	tap, err := w.conn.Subscribe(telemetry.RequestSubject(siteID), func(m *nats.Msg) {
		mu.Lock()
		defer mu.Unlock()
		caught = append(caught, m.Data)
	})
	require.NoError(t, err)
	require.NoError(t, w.site.Stop(t.Context(), "att_stop"))
	require.NoError(t, w.site.Start(t.Context(), w.issue("att_one")))
	_, err = w.site.Reports(t.Context(), []broker.AttemptID{"att_one"})
	require.NoError(t, err)
	require.Eventually(t, func() bool { mu.Lock(); defer mu.Unlock(); return len(caught) == 3 }, patience, 5*time.Millisecond)
	require.NoError(t, tap.Unsubscribe())
	for round := range 2 {
		before := w.resp.Refused()[link.CodeReplay]
		for _, m := range caught {
			sub := w.inject(m)
			before++
			w.refused(link.CodeReplay, before)
			_, err := sub.NextMsg(20 * time.Millisecond)
			require.ErrorIs(t, err, nats.ErrTimeout, "an answer to a repeated request could be taken for the first one's")
			require.NoError(t, sub.Unsubscribe())
		}
		if round == 0 {
			w.stop()
			w.up()
		}
	}
	w.done(w.site, "att_one")
	require.Equal(t, 1, w.sched.started("att_one"))
}

// TestStolenBrokerKeysStartNothing has the attacker hold the link key, the
// order key and the image key: permit, status and ledger are not the broker's.
func TestStolenBrokerKeysStartNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.up()
	thief := ordertest.New(t, w.auth.Now) // own permit, status and ledger keys
	thief.Order, thief.Image, thief.Link = w.auth.Order, w.auth.Image, w.auth.Link
	stolen := w.newSite(link.SiteConfig{Key: w.auth.Link})
	err := stolen.Start(t.Context(), thief.Issue(t, "att_evil", nil))
	require.Equal(t, broker.KindForbidden, broker.KindOf(err))
	require.Equal(t, order.CodePermitSignature, broker.CodeOf(err))

	// With a genuine permit, but a status and a ledger of the thief's.
	halves := *w.auth
	halves.Status = thief.Status
	err = stolen.Start(t.Context(), halves.Issue(t, "att_evil", nil))
	require.Equal(t, order.CodePermitStatus, broker.CodeOf(err))
	halves = *w.auth
	halves.Ledger = thief.Ledger
	err = stolen.Start(t.Context(), halves.Issue(t, "att_evil", nil))
	require.Equal(t, order.CodeReceipt, broker.CodeOf(err))

	// A genuine order for other work, and a release that no officer signed.
	err = stolen.Start(t.Context(), w.auth.Issue(t, "att_evil", func(o *broker.WorkOrder) { o.Command = []string{"/steal"} }))
	require.Equal(t, order.CodeCommand, broker.CodeOf(err))
	require.Zero(t, w.sched.launches())
	require.NoError(t, w.site.Start(t.Context(), w.issue("att_one")))
	m := w.done(w.site, "att_one").Outputs
	err = stolen.Release(t.Context(), "att_one", ordertest.Statement(t, "att_one", m.Digest, reviewer, w.auth.Link, w.auth.Now))
	require.Equal(t, order.CodeReleaseKeyRole, broker.CodeOf(err))
	_, _, err = stolen.Open(t.Context(), "att_one", "model.bin")
	require.Equal(t, broker.KindNotFound, broker.KindOf(err))

	// What the key can do is stop.
	require.NoError(t, stolen.Stop(t.Context(), "att_one"))
	require.Equal(t, 1, w.sched.launches())

	run(t, w.site)
	for _, code := range []string{order.CodePermitSignature, order.CodePermitStatus, order.CodeReceipt, order.CodeCommand, order.CodeReleaseKeyRole} {
		require.Eventually(t, func() bool { return w.book.of(code) == 1 }, patience, 10*time.Millisecond, code)
	}
}

// TestAnAnswerIsTheAgentsOwnOverTheRequest has the attacker answer first.
func TestAnAnswerIsTheAgentsOwnOverTheRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t) // no agent: every answer is forged
	thief, err := dsse.GenerateKey()
	require.NoError(t, err)
	require.NoError(t, w.site.Close()) // the server tells one subscription that nobody is there
	s := w.newSite(link.SiteConfig{Timeout: 500 * time.Millisecond})
	forge := func(m *nats.Msg, key crypto.Signer, edit func(*link.Answer), body []byte) {
		n := binary.BigEndian.Uint32(m.Data)
		a := link.Answer{
			Version: link.Version, Site: siteID, Request: broker.DigestOf(m.Data[4 : 4+n]), At: time.Now(), Body: broker.DigestOf(nil),
		}
		edit(&a)
		b, err := link.SignAnswer(a, key)
		require.NoError(t, err)
		require.NoError(t, w.conn.Publish(m.Reply, message(b, body)))
	}
	same := func(*link.Answer) {}
	sub, err := w.conn.Subscribe(telemetry.RequestSubject(siteID), func(m *nats.Msg) {
		forge(m, thief, same, nil)
		forge(m, w.auth.Link, same, nil)
		forge(m, w.auth.Order, same, nil)
		forge(m, w.key, func(a *link.Answer) { a.Site = "site_two" }, nil)
		forge(m, w.key, func(a *link.Answer) { a.Request = ordertest.DigestOf("another") }, nil)
		forge(m, w.key, same, []byte("another body"))
		require.NoError(t, w.conn.Publish(m.Reply, []byte("noise")))
		require.NoError(t, w.conn.Publish(m.Reply, m.Data)) // the request itself
	})
	require.NoError(t, err)
	err = s.Start(t.Context(), w.issue("att_one"))
	require.Equal(t, broker.KindUnavailable, broker.KindOf(err))
	require.Equal(t, link.CodeNoAnswer, broker.CodeOf(err))
	require.Equal(t, uint64(8), s.Counters().Forged)
	require.Zero(t, s.Presence().Heard)
	require.NoError(t, sub.Unsubscribe())

	// Noise first does not keep the answer away.
	sub, err = w.conn.Subscribe(telemetry.RequestSubject(siteID), func(m *nats.Msg) {
		forge(m, thief, same, nil)
		forge(m, w.key, same, nil)
	})
	require.NoError(t, err)
	require.NoError(t, s.Stop(t.Context(), "att_one"))
	require.NoError(t, sub.Unsubscribe())
	require.Equal(t, link.CodeAway, broker.CodeOf(s.Stop(t.Context(), "att_one")), "nobody is there")
}

// TestASiteMayUseItsOwnSubjectsOnly signs in as a site and tries others'.
func TestASiteMayUseItsOwnSubjectsOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	nc, err := link.Dial(t.Context(), link.DialConfig{Site: siteID, URL: "wss://" + w.srv.WebsocketAddr(), CA: w.ca, Seed: w.seed})
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	denied := make(chan error, 64)
	nc.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { denied <- err })
	require.Eventually(t, nc.IsConnected, patience, 10*time.Millisecond)
	expect := func(what string) {
		require.NoError(t, nc.Flush())
		select {
		case err := <-denied:
			require.ErrorIs(t, err, nats.ErrPermissionViolation, what)
		case <-time.After(patience):
			t.Fatal("allowed: " + what)
		}
	}
	for _, s := range []string{"tel.site_two.a.b.c.log", "ans.site_two.x", "req.site_one", "req.site_two", "evt.a.b", "_INBOX_broker.x", "$JS.API.STREAM.LIST"} {
		require.NoError(t, nc.Publish(s, nil))
		expect("publish " + s)
	}
	for _, s := range []string{"req.site_two", "req.*", "req.>", "ans.site_one.*", "ans.>", "tel.>", "_INBOX_broker.>", "_INBOX.>", ">"} {
		_, err := nc.SubscribeSync(s)
		require.NoError(t, err)
		expect("subscribe " + s)
	}
}

// TestOnlyThePinnedKeySignsIn tries other keys, and a key that was taken away.
func TestOnlyThePinnedKeySignsIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dial := func(seed []byte) *nats.Conn {
		nc, err := link.Dial(t.Context(), link.DialConfig{Site: siteID, URL: "wss://" + w.srv.WebsocketAddr(), CA: w.ca, Seed: seed})
		require.NoError(t, err)
		t.Cleanup(nc.Close)
		return nc
	}
	other, public, err := link.NewSeed()
	require.NoError(t, err)
	stranger, good := dial(other), dial(w.seed)
	require.Eventually(t, good.IsConnected, patience, 10*time.Millisecond)
	require.Eventually(t, func() bool { return stranger.LastError() != nil }, patience, 10*time.Millisecond)
	require.False(t, stranger.IsConnected())
	require.Error(t, w.srv.PinSite("broker", public))
	require.Error(t, w.srv.PinSite("site_two", "not a key"))
	old, err := link.PublicOf(w.seed)
	require.NoError(t, err)
	require.Error(t, w.srv.PinSite("site_two", old), "one key, two sites")

	require.NoError(t, w.srv.PinSite(siteID, public)) // the site has a new key
	require.Eventually(t, func() bool { return !good.IsConnected() && stranger.IsConnected() }, patience, 10*time.Millisecond)
	require.NoError(t, w.srv.UnpinSite(siteID))
	require.Eventually(t, func() bool { return !stranger.IsConnected() }, patience, 10*time.Millisecond)
}

func TestAnAgentsKeyOfAnotherRoleIsAnErrorOfConfiguration(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, k := range []crypto.Signer{w.auth.Order, w.auth.Link, w.auth.Officer} {
		c := w.responder(w.open())
		c.Key = k
		_, err := link.NewResponder(c)
		require.Equal(t, order.CodeKeyTwoRoles, broker.CodeOf(err))
		require.NoError(t, w.agent.Close())
		w.nc.Close()
	}
	both := w.auth.Trust
	both.Link = append(both.Link, w.auth.Order.Public())
	require.Equal(t, order.CodeKeyTwoRoles, broker.CodeOf(both.Check()))
}
