package httpapi

import (
	"context"
	"net/http"
	"slices"

	"github.com/valico-hpc/valico/broker"
	"github.com/valico-hpc/valico/broker/admission"
)

// rule says who may use a route.
type rule string

// The rules. A role is needed in addition to being signed in; whose thing it is
// is checked by the store, which answers for the caller's own project alone.
const (
	anyone    rule = "anyone"
	signedIn  rule = "signed_in"
	developer rule = "developer"
	reviewer  rule = "reviewer"
	operator  rule = "operator"
)

// role is what a rule asks for; "" when being signed in suffices.
func (r rule) role() string {
	switch r {
	case developer:
		return broker.RoleDeveloper
	case reviewer:
		return broker.RoleReviewer
	case operator:
		return broker.RoleOperator
	case anyone, signedIn:
		return ""
	}
	return "none"
}

type principalKey struct{}

// principal is who asks. Routes with a rule other than anyone have one.
func principal(ctx context.Context) admission.Principal {
	p, _ := ctx.Value(principalKey{}).(admission.Principal)
	return p
}

// caller is the person who asks.
func caller(ctx context.Context) broker.Person { return principal(ctx).Person }

func isOperator(p broker.Person) bool { return slices.Contains(p.Roles, broker.RoleOperator) }

// authorise finds out who asks and whether the rule lets them. A token that is
// unknown, revoked or expired gives one and the same answer.
func (s *Server) authorise(r *http.Request, rl rule) (context.Context, error) {
	ctx := r.Context()
	if rl == anyone {
		return ctx, nil
	}
	secret := bearer(r.Header.Get("Authorization"))
	if secret == "" {
		return ctx, unauthenticated("no token, or not one of valico's")
	}
	person, token, err := s.d.Store.PersonByToken(ctx, HashSecret(secret))
	if k := broker.KindOf(err); k == broker.KindNotFound || k == broker.KindUnauthenticated {
		return ctx, unauthenticated("the token is unknown, revoked or expired")
	}
	if err != nil {
		return ctx, err
	}
	if !token.RevokedAt.IsZero() || !s.d.Now().Before(token.ExpiresAt) {
		return ctx, unauthenticated("the token is unknown, revoked or expired")
	}
	if role := rl.role(); role != "" && !slices.Contains(person.Roles, role) {
		return ctx, &broker.Error{
			Kind: broker.KindForbidden, Code: "role_missing", Message: "this needs the role " + role,
			Rule: "the route is for the role " + role, Value: string(person.ID), Help: "ask for the role, or ask someone who has it",
			Who: "the broker's operator",
		}
	}
	return context.WithValue(ctx, principalKey{}, admission.Principal{Person: person, Method: "local_token", MFA: false}), nil
}

func unauthenticated(what string) error {
	return &broker.Error{
		Kind: broker.KindUnauthenticated, Code: "unauthenticated", Message: what,
		Rule: "each request carries the header Authorization: Bearer vlc_…",
		Help: "set --token-file or VALICO_TOKEN_FILE to the file with your token", Who: "the broker's operator gives out tokens",
	}
}
