package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	gojson "github.com/go-json-experiment/json"
	"github.com/spf13/cobra"

	"github.com/valico-hpc/valico/broker/httpapi/wire"
	"github.com/valico-hpc/valico/policy/permit"
)

func newPermitCommand(e *env) *cobra.Command {
	return group("permit", "Make, check, import and show data permits",
		newPermitAuthorityCommand(e), newPermitNewCommand(e), newPermitSignCommand(e), newPermitVerifyCommand(e), newPermitImportCommand(e),
		newPermitListCommand(e), newPermitShowCommand(e), newPermitStatusCommand(e))
}

func newPermitNewCommand(e *env) *cobra.Command {
	var out string
	c := &cobra.Command{
		Use: "new", Short: "Write a SANDBOX permit to start from", Args: args(),
		Long: help("New writes a complete permit document of regime SANDBOX for synthetic data, for an authority to change and sign.",
			"valico permit new --out permit.json"),
		RunE: func(*cobra.Command, []string) error {
			b, err := json.MarshalIndent(permit.Template(e.Now()), "", "  ")
			if err != nil {
				return fmt.Errorf("encode the permit: %w", err)
			}
			return e.write(out, append(b, '\n'))
		},
	}
	c.Flags().StringVar(&out, "out", "", "file to write; stdout otherwise")
	return c
}

// write puts a document into a new file, or on stdout.
func (e *env) write(path string, b []byte) error {
	if path != "" {
		return writeFile(path, b, 0o644)
	}
	if _, err := e.Stdout.Write(b); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

type signOptions struct{ file, key, kid, out string }

func (o *signOptions) addFlags(c *cobra.Command) {
	c.Flags().StringVar(&o.key, "key", "", "file with the authority's private key (PEM)")
	c.Flags().StringVar(&o.kid, "kid", "", "key id; the key's thumbprint (RFC 7638) otherwise")
	c.Flags().StringVar(&o.out, "out", "", "file to write; stdout otherwise")
}

func newPermitSignCommand(e *env) *cobra.Command {
	var o signOptions
	c := &cobra.Command{
		Use: "sign PERMIT.json --key FILE", Short: "Sign a permit as its authority", Args: args("PERMIT.json"),
		Long: help("Sign checks a permit document against the rules that hold without context and signs it (JWS, ES256 or EdDSA).",
			"openssl genpkey -algorithm ed25519 -out authority.key && chmod 600 authority.key",
			"valico permit sign permit.json --key authority.key --kid sandbox-1 --out permit.jws"),
		RunE: func(_ *cobra.Command, a []string) error {
			o.file = a[0]
			return runPermitSign(o, e)
		},
	}
	o.addFlags(c)
	_ = c.MarkFlagRequired("key") // the flag was made above
	return c
}

func runPermitSign(o signOptions, e *env) error {
	b, err := readFile("the permit", o.file)
	if err != nil {
		return err
	}
	var doc permit.Document
	if err := gojson.Unmarshal(b, &doc, gojson.RejectUnknownMembers(true)); err != nil {
		return invalid("permit_malformed", "the permit document is not understood: "+err.Error(),
			"a permit is JSON of schema "+permit.Schema+" without unknown members", o.file, "start from: valico permit new")
	}
	if err := brokenRules(permit.Validate(doc)); err != nil {
		return err
	}
	key, err := readKey(o.key)
	if err != nil {
		return err
	}
	if o.kid == "" {
		if o.kid, err = permit.KeyID(key.Public()); err != nil {
			return fmt.Errorf("name the key: %w", err)
		}
	}
	jws, err := permit.Sign(doc, key, o.kid)
	if err != nil {
		return fromEdge(err)
	}
	return e.write(o.out, []byte(jws+"\n"))
}

// brokenRules is nil, or the error that names every rule that a document breaks.
func brokenRules(ps []permit.Problem) error {
	if len(ps) == 0 {
		return nil
	}
	f := &wire.FieldsError{}
	for _, p := range ps {
		f.Fields = append(f.Fields, wire.FieldError{Field: p.Field, Reason: "rule " + p.Rule, Value: p.Value, Help: p.Help})
	}
	f.Err = asBroker(invalid("permit_invalid", fmt.Sprintf("the permit breaks %d rule(s)", len(ps)),
		"the document mirrors Regulation (EU) 2025/327", "", "correct the fields named above"))
	f.Err.Who = "the permit authority"
	return f
}

type verifyOptions struct {
	file, status string
	trust        []string
}

func newPermitVerifyCommand(e *env) *cobra.Command {
	var o verifyOptions
	c := &cobra.Command{
		Use: "verify PERMIT.jws --trust FILE", Short: "Verify a signed permit with keys that you trust", Args: args("PERMIT.jws"),
		Long: help("Verify checks a permit's signature, the scope of its authority's key, and the rules that hold without context;\n"+
			"with --status the status statement too. It needs no server.",
			"valico permit verify permit.jws --trust authorities.json --status status.jws"),
		RunE: func(_ *cobra.Command, a []string) error {
			o.file = a[0]
			return runPermitVerify(o, e)
		},
	}
	c.Flags().StringArrayVar(&o.trust, "trust", nil, "file with the authorities' keys; may be repeated")
	c.Flags().StringVar(&o.status, "status", "", "file with the permit's signed status")
	_ = c.MarkFlagRequired("trust") // the flag was made above
	return c
}

// verified is verify's answer.
type verified struct {
	ID          string         `json:"id"`
	Version     int            `json:"version"`
	LegalRegime string         `json:"legal_regime"`
	Issuer      string         `json:"issuer"`
	KeyID       string         `json:"key_id"`
	Status      *permit.Status `json:"status,omitempty"`
}

func runPermitVerify(o verifyOptions, e *env) error {
	off := offlineOptions{trust: o.trust}
	trust, err := off.readTrust()
	if err != nil {
		return err
	}
	jws, err := readToken("the permit", o.file)
	if err != nil {
		return err
	}
	v, err := permit.Verify(jws, trust.Issuers)
	if err != nil {
		return fromEdge(err)
	}
	if err := brokenRules(permit.Validate(v.Document)); err != nil {
		return err
	}
	out := verified{ID: v.Document.ID, Version: v.Document.Version, LegalRegime: v.Document.LegalRegime, Issuer: v.Issuer, KeyID: v.KeyID}
	if o.status != "" {
		b, err := readToken("the status", o.status)
		if err != nil {
			return err
		}
		st, err := permit.VerifyStatus(b, trust.StatusKeys)
		if err != nil {
			return fromEdge(err)
		}
		if st.PermitID != out.ID || st.Version != out.Version || st.Issuer != out.Issuer {
			return invalid("permit_status_mismatch", "the status is not one of this permit's", "a status names the permit and version, by its authority",
				fmt.Sprintf("%s version %d by %s", st.PermitID, st.Version, st.Issuer), "ask the authority for a status of this permit")
		}
		out.Status = &st
	}
	return e.emit(out, func(w io.Writer) {
		rows := [][]string{
			{"PERMIT", out.ID},
			{"VERSION", fmt.Sprint(out.Version)},
			{"REGIME", out.LegalRegime},
			{"SIGNED BY", out.Issuer + ", key " + out.KeyID},
			{"PERIOD", v.Document.AccessPeriod.Start.Format("2006-01-02") + " to " + v.Document.AccessPeriod.End.Format("2006-01-02")},
		}
		if out.Status != nil {
			rows = append(rows, []string{"STATUS", out.Status.Status + ", stated " + stamp(&out.Status.At)})
		}
		table(w, append(rows, []string{"RESULT", "verified, within the key's scope, no rule broken"})...)
	})
}

type importOptions struct{ file, status string }

func newPermitImportCommand(e *env) *cobra.Command {
	var o importOptions
	c := &cobra.Command{
		Use: "import PERMIT.jws", Short: "Hand a signed permit to the broker", Args: args("PERMIT.jws"),
		Long: help("Import gives the broker a signed permit for your project; it verifies it with the keys that it pinned. Needs the role operator.",
			"valico permit import permit.jws --status status.jws"),
		RunE: func(c *cobra.Command, a []string) error {
			o.file = a[0]
			return runPermitImport(c.Context(), o, e)
		},
	}
	c.Flags().StringVar(&o.status, "status", "", "file with the permit's signed status")
	return c
}

func runPermitImport(ctx context.Context, o importOptions, e *env) error {
	jws, err := readToken("the permit", o.file)
	if err != nil {
		return err
	}
	in := wire.PermitImport{JWS: string(jws)}
	if o.status != "" {
		b, err := readToken("the status", o.status)
		if err != nil {
			return err
		}
		in.Status = string(b)
	}
	c, err := e.client()
	if err != nil {
		return err
	}
	p, err := c.ImportPermit(ctx, in)
	if err != nil {
		return err
	}
	return e.emit(p, func(w io.Writer) { printPermit(w, p) })
}
