package order

import (
	"fmt"
	"io"
	"os"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/valico-hpc/valico/policy/permit"
)

// AuthoritiesSchema is the version of an authorities file.
const AuthoritiesSchema = "valico-authorities/v1"

// Authorities are the permit issuers, status keys and officers that a broker
// pins, and that an operator pins again at each site. The file is a trust file
// without what is the site's own.
type Authorities struct {
	Permit  []permit.TrustedIssuer
	Status  []permit.TrustedStatusKey
	Officer []Officer
}

type authoritiesFile struct {
	Schema  string         `json:"schema"`
	Permit  []trustIssuer  `json:"permit"`
	Status  []trustStatus  `json:"status"`
	Officer []trustOfficer `json:"officer"`
}

// LoadAuthorities reads and checks an authorities file.
func LoadAuthorities(path string) (Authorities, error) {
	f, err := os.Open(path) //nolint:gosec // the path is the operator's own
	if err != nil {
		return Authorities{}, fmt.Errorf("open authorities: %w", err)
	}
	defer func() { _ = f.Close() }() // only read from
	b, err := io.ReadAll(io.LimitReader(f, maxTrustBytes+1))
	if err != nil {
		return Authorities{}, fmt.Errorf("read authorities: %w", err)
	}
	return ParseAuthorities(b)
}

// ParseAuthorities reads an authorities file strictly and checks it.
func ParseAuthorities(b []byte) (Authorities, error) {
	if len(b) > maxTrustBytes {
		return Authorities{}, refuseTrust(CodeTrustInvalid, "authorities", "has at most 16 MiB", "", nil)
	}
	var f authoritiesFile
	if err := json.Unmarshal(b, &f, json.RejectUnknownMembers(true)); err != nil {
		return Authorities{}, refuseTrust(CodeTrustInvalid, "authorities", "is JSON of schema "+AuthoritiesSchema, "", err)
	}
	if f.Schema != AuthoritiesSchema {
		return Authorities{}, refuseTrust(CodeTrustInvalid, "schema", "is "+AuthoritiesSchema, f.Schema, nil)
	}
	var t Trust
	keys := trustKeys{Permit: f.Permit, Status: f.Status, Officer: f.Officer}
	if err := keys.into(&t); err != nil {
		return Authorities{}, err
	}
	if err := t.checkKeys(); err != nil {
		return Authorities{}, err
	}
	return Authorities{Permit: t.Permit, Status: t.Status, Officer: t.Officer}, nil
}

// EncodeAuthorities writes an authorities file, indented for people, after
// checking it.
func EncodeAuthorities(a Authorities) ([]byte, error) {
	t := Trust{Permit: a.Permit, Status: a.Status, Officer: a.Officer}
	if err := t.checkKeys(); err != nil {
		return nil, err
	}
	var k trustKeys
	if err := k.from(t); err != nil {
		return nil, err
	}
	b, err := json.Marshal(authoritiesFile{
		Schema: AuthoritiesSchema, Permit: k.Permit, Status: k.Status, Officer: k.Officer,
	}, jsontext.WithIndent("  "))
	if err != nil {
		return nil, fmt.Errorf("encode authorities: %w", err)
	}
	return append(b, '\n'), nil
}
