package httpapi_test

import (
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/httpapi/wire"
)

var update = flag.Bool("update", false, "write openapi.json")

// description is the part of the OpenAPI document that the tests look at.
type description struct {
	OpenAPI string                          `json:"openapi"`
	Paths   map[string]map[string]operation `json:"paths"`
}

type operation struct {
	ID        string                `json:"operationId"`
	Rule      string                `json:"x-valico-rule"`
	Summary   string                `json:"summary"`
	Security  []map[string][]string `json:"security"`
	Responses map[string]struct {
		Content map[string]struct {
			Example json.RawMessage `json:"example"`
		} `json:"content"`
	} `json:"responses"`
}

func describe(t *testing.T, b *bundle) (description, string) {
	t.Helper()
	res, text := b.call(t, "", http.MethodGet, "/openapi.json", "")
	require.Equal(t, http.StatusOK, res.StatusCode)
	var d description
	require.NoError(t, json.Unmarshal([]byte(text), &d))
	return d, text
}

func TestOpenAPIIsFresh(t *testing.T) {
	t.Parallel()
	_, text := describe(t, setup(t))
	var v any
	require.NoError(t, json.Unmarshal([]byte(text), &v))
	got, err := json.MarshalIndent(v, "", "  ")
	require.NoError(t, err)
	got = append(got, '\n')
	if *update {
		require.NoError(t, os.WriteFile("openapi.json", got, 0o644))
	}
	want, err := os.ReadFile("openapi.json")
	require.NoError(t, err)
	require.Equal(t, string(want), string(got), "run go generate ./broker/httpapi")
}

func TestEveryRouteHasAnExampleARuleAndAProblemType(t *testing.T) {
	t.Parallel()
	d, _ := describe(t, setup(t))
	require.Equal(t, "3.1.0", d.OpenAPI)
	require.GreaterOrEqual(t, len(d.Paths), 20)
	for path, ops := range d.Paths {
		for method, o := range ops {
			at := method + " " + path
			require.NotEmpty(t, o.Summary, at)
			require.Contains(t, []string{"anyone", "signed_in", "developer", "reviewer", "operator"}, o.Rule, at)
			require.Equal(t, o.Rule == "anyone", len(o.Security) == 0, at)
			require.Contains(t, o.Responses["default"].Content, wire.ProblemType, at)
			require.NotEmpty(t, o.Responses["default"].Content[wire.ProblemType].Example, at)
			success := 0
			for status, r := range o.Responses {
				if status == "default" {
					continue
				}
				success++
				for ct, m := range r.Content {
					require.NotEmpty(t, m.Example, "%s %s %s", at, status, ct)
				}
			}
			require.Equal(t, 1, success, at)
		}
	}
}

// TestNobodyPassesARule walks every route: without a token, with a token of
// nobody, and signed in without the role.
func TestNobodyPassesARule(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d, _ := describe(t, b)
	forged := broker.Secret("vlc_" + strings.Repeat("A", 43))
	for path, ops := range d.Paths {
		for method, o := range ops {
			method = strings.ToUpper(method)
			at := strings.NewReplacer("{id}", "x", "{digest}", "x", "{path}", "x", "{name}", "x").Replace(path)
			if o.Rule == "anyone" {
				res, body := b.call(t, "", method, at, "")
				require.Equal(t, http.StatusOK, res.StatusCode, "%s %s %s", method, path, body)
				continue
			}
			for _, token := range []broker.Secret{"", forged, "hunter2", b.dev + "x"} {
				res, _ := b.call(t, token, method, at, "")
				require.Equal(t, http.StatusUnauthorized, res.StatusCode, "%s %s", method, path)
				require.Equal(t, wire.ProblemType, res.Header.Get("Content-Type"))
				require.NotEmpty(t, res.Header.Get("WWW-Authenticate"))
			}
			for role, token := range map[string]broker.Secret{broker.RoleDeveloper: b.dev, broker.RoleReviewer: b.rita, broker.RoleOperator: b.otto} {
				if o.Rule == "signed_in" || o.Rule == role {
					continue
				}
				res, _ := b.call(t, token, method, at, "")
				require.Equal(t, http.StatusForbidden, res.StatusCode, "%s %s as %s", method, path, role)
			}
		}
	}
}

func TestATokenAppearsInNoLogAndNoAnswer(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d, _ := describe(t, b)
	secret := string(b.otto)
	var answers strings.Builder
	for path, ops := range d.Paths {
		for method := range ops {
			if strings.Contains(path, "events") {
				continue
			}
			at := strings.NewReplacer("{id}", secret, "{digest}", secret, "{path}", "x", "{name}", "x").Replace(path)
			if strings.Contains(path, "persons/") || strings.Contains(path, "jobs/") || strings.Contains(path, "permits/") || strings.Contains(path, "blobs/") {
				at = strings.ReplaceAll(path, "{id}", "x") // a not-found says what was asked for: the caller's own words
				at = strings.NewReplacer("{digest}", "x", "{path}", "x", "{name}", "x").Replace(at)
			}
			for _, s := range []broker.Secret{b.otto, b.dev, b.rita} {
				_, body := b.call(t, s, strings.ToUpper(method), at, `{"x":1}`, "Idempotency-Key", "k")
				answers.WriteString(body)
			}
		}
	}
	for _, s := range []broker.Secret{b.otto, b.dev, b.rita} {
		require.NotContains(t, answers.String(), string(s))
		require.NotContains(t, b.log.String(), string(s))
	}
}

func TestARevokedOrExpiredTokenIsAnUnknownOne(t *testing.T) {
	t.Parallel()
	b := setup(t)
	op := b.as(t, b.otto)
	made, err := op.NewToken(t.Context(), wire.TokenRequest{Person: string(b.Person.ID), Days: 1})
	require.NoError(t, err)
	fresh := b.as(t, broker.Secret(made.Secret))
	me, err := fresh.WhoAmI(t.Context())
	require.NoError(t, err)
	require.Equal(t, string(b.Person.ID), me.ID)
	require.NoError(t, op.RevokeToken(t.Context(), made.ID))
	_, err = fresh.WhoAmI(t.Context())
	_, unknown := b.as(t, broker.Secret("vlc_"+strings.Repeat("A", 43))).WhoAmI(t.Context())
	require.Equal(t, broker.KindUnauthenticated, broker.KindOf(err))
	require.Equal(t, unknown, err, "revoked and unknown look alike")

	listed, err := op.Tokens(t.Context(), string(b.Person.ID))
	require.NoError(t, err)
	i := slices.IndexFunc(listed.Tokens, func(x wire.Token) bool { return x.ID == made.ID })
	require.GreaterOrEqual(t, i, 0)
	require.NotNil(t, listed.Tokens[i].RevokedAt)
	require.Empty(t, listed.Tokens[i].Secret)
}
