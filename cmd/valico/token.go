package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/valico-hpc/valico/broker/httpapi/wire"
)

func newTokenCommand(e *env) *cobra.Command {
	list := &cobra.Command{
		Use: "list PERSON", Short: "List a person's tokens", Args: args("PERSON"),
		Long: help("List prints a person's tokens, never their secrets. Needs the role operator.", "valico token list ada@biotech.example"),
		RunE: func(c *cobra.Command, a []string) error { return runTokenList(c.Context(), a[0], e) },
	}
	revoke := &cobra.Command{
		Use: "revoke TOKEN", Short: "End a token now", Args: args("TOKEN"),
		Long: help("Revoke ends a token by its id, tok_…. Needs the role operator.", "valico token revoke tok_0123456789abcdefghjkmnpqrs"),
		RunE: func(c *cobra.Command, a []string) error { return runTokenRevoke(c.Context(), a[0], e) },
	}
	return group("token", "Give out and end tokens", newTokenNewCommand(e), list, revoke)
}

type tokenOptions struct {
	person, out string
	days        int
}

func newTokenNewCommand(e *env) *cobra.Command {
	var o tokenOptions
	c := &cobra.Command{
		Use: "new PERSON", Short: "Give a person a token", Args: args("PERSON"),
		Long: help("New makes a token and shows it once: into a new file of mode 0600 with --out, on stdout otherwise.\n"+
			"The broker keeps its hash alone. Needs the role operator.",
			"valico token new ada@biotech.example --out ada.token"),
		RunE: func(c *cobra.Command, a []string) error {
			o.person = a[0]
			return runTokenNew(c.Context(), o, e)
		},
	}
	c.Flags().StringVar(&o.out, "out", "", "file to write the token to")
	c.Flags().IntVar(&o.days, "days", 90, "how many days it is valid")
	return c
}

func runTokenNew(ctx context.Context, o tokenOptions, e *env) error {
	if o.out != "" {
		if _, err := os.Lstat(o.out); !errors.Is(err, fs.ErrNotExist) {
			return fileError("write the token", o.out, fs.ErrExist) // before a token is made that nobody could see
		}
	}
	c, err := e.client()
	if err != nil {
		return err
	}
	t, err := c.NewToken(ctx, wire.TokenRequest{Person: o.person, Days: o.days})
	if err != nil {
		return err
	}
	if o.out != "" {
		if err := writeFile(o.out, []byte(t.Secret+"\n"), 0o600); err != nil {
			return err
		}
		t.Secret = ""
	}
	return e.emit(t, func(w io.Writer) {
		rows := [][]string{{"TOKEN", t.ID}, {"PERSON", t.Person}, {"EXPIRES", stamp(&t.ExpiresAt)}}
		if t.Secret != "" {
			rows = append(rows, []string{"SECRET", t.Secret})
		} else {
			rows = append(rows, []string{"FILE", o.out})
		}
		table(w, rows...)
	})
}

func runTokenList(ctx context.Context, person string, e *env) error {
	c, err := e.client()
	if err != nil {
		return err
	}
	ts, err := c.Tokens(ctx, person)
	if err != nil {
		return err
	}
	return e.emit(ts, func(w io.Writer) {
		rows := [][]string{{"TOKEN", "PERSON", "CREATED", "EXPIRES", "REVOKED"}}
		for _, t := range ts.Tokens {
			rows = append(rows, []string{t.ID, t.Person, stamp(&t.CreatedAt), stamp(&t.ExpiresAt), stamp(t.RevokedAt)})
		}
		table(w, rows...)
	})
}

func runTokenRevoke(ctx context.Context, id string, e *env) error {
	c, err := e.client()
	if err != nil {
		return err
	}
	if err := c.RevokeToken(ctx, id); err != nil {
		return err
	}
	return e.emit(map[string]string{"revoked": id}, func(w io.Writer) { fmt.Fprintln(w, "revoked "+id) })
}
