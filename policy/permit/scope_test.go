package permit_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/policy/permit"
)

func scope() permit.Scope {
	return permit.Scope{
		Regimes: []string{permit.RegimeSandbox}, DatasetPrefixes: []string{"https://data.example/dataset"},
		Holders: []string{"holder-sandbox"}, SyntheticOnly: true,
	}
}

func TestAScopeCoversWhatItNamesAndNothingElse(t *testing.T) {
	t.Parallel()
	require.NoError(t, scope().Covers(permit.Template(now)))
	for what, change := range map[string]func(*permit.Scope, *permit.Document){
		"no regime":      func(s *permit.Scope, _ *permit.Document) { s.Regimes = nil },
		"another regime": func(_ *permit.Scope, d *permit.Document) { d.LegalRegime = permit.RegimeNationalPermit },
		"no prefix":      func(s *permit.Scope, _ *permit.Document) { s.DatasetPrefixes = nil },
		"empty prefix":   func(s *permit.Scope, _ *permit.Document) { s.DatasetPrefixes = []string{""} },
		"no holder":      func(s *permit.Scope, _ *permit.Document) { s.Holders = nil },
		"another holder": func(_ *permit.Scope, d *permit.Document) { d.Datasets[0].Holder = "holder" },
		"no datasets":    func(_ *permit.Scope, d *permit.Document) { d.Datasets = nil },
		"one of two outside": func(_ *permit.Scope, d *permit.Document) {
			d.Datasets = append(d.Datasets, permit.Dataset{PURI: "urn:x:y", Holder: "holder-sandbox"})
		},
		"not synthetic": func(_ *permit.Scope, d *permit.Document) { d.Datasets[0].AccessFormat = permit.FormatPseudonymised },
		"synthetic only, regime of real data": func(s *permit.Scope, d *permit.Document) {
			s.Regimes = []string{permit.RegimeEHDSPermit}
			d.LegalRegime = permit.RegimeEHDSPermit
		},
	} {
		s, d := scope(), permit.Template(now)
		change(&s, &d)
		require.Equal(t, permit.CodeScope, permit.CodeOf(s.Covers(d)), what)
	}
}

func TestPrefixesEndAtABoundary(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		prefix, puri string
		covered      bool
	}{
		{"https://data.example/a", "https://data.example/a", true},
		{"https://data.example/a", "https://data.example/a/b", true},
		{"https://data.example/a", "https://data.example/a#b", true},
		{"https://data.example/a", "https://data.example/a?b", true},
		{"https://data.example/a/", "https://data.example/a/b", true},
		{"https://data.example/a", "https://data.example/ab", false},
		{"https://data.example/a", "https://data.example/a:b", false},
		{"https://data.example/a/", "https://data.example/a", false},
		{"https://data.example", "https://data.example.evil.example/a", false},
		{"https://data.example", "https://data.example:8443/a", false},
		{"https://data.example", "https://data.example@evil.example/a", false},
		{"https://data.example/a", "https://data.example/a/../b", false},
		{"https://data.example/a", "https://data.example/a/%2e%2e/b", false},
		{"https://data.example/a", "https://data.example/a/%2E%2E%2Fb", false},
		{"https://data.example/a", "https://data.example/a/./b", false},
		{"https://data.example/a", `https://data.example/a\..\b`, false},
		{"https://data.example/a", "https://DATA.example/a", false},
		{"https://data.example/a", "http://data.example/a", false},
		{"urn:example:a", "urn:example:a", true},
		{"urn:example:a", "urn:example:a:b", true},
		{"urn:example:", "urn:example:a", true},
		{"urn:example:a", "urn:example:ab", false},
		{"https:", "https://data.example/a", false},
		{"https://", "https://data.example/a", false},
		{"urn:", "urn:example:a", false},
		{"", "https://data.example/a", false},
		{"data", "data.example/a", false},
	} {
		s, d := scope(), permit.Template(now)
		s.DatasetPrefixes, d.Datasets[0].PURI = []string{c.prefix}, c.puri
		require.Equal(t, c.covered, s.Covers(d) == nil, "%q covers %q", c.prefix, c.puri)
	}
}

func TestAScopeThatReadsOtherwiseThanItIsIsTold(t *testing.T) {
	t.Parallel()
	require.Empty(t, scope().Check())
	for what, change := range map[string]func(*permit.Scope){
		"no regimes":              func(s *permit.Scope) { s.Regimes = nil },
		"request":                 func(s *permit.Scope) { s.Regimes = []string{permit.RegimeEHDSRequest} },
		"regime of no name":       func(s *permit.Scope) { s.Regimes = []string{"ANY"} },
		"real data and synthetic": func(s *permit.Scope) { s.Regimes = []string{permit.RegimeEHDSPermit} },
		"no prefixes":             func(s *permit.Scope) { s.DatasetPrefixes = nil },
		"everything":              func(s *permit.Scope) { s.DatasetPrefixes = []string{"https:"} },
		"no holders":              func(s *permit.Scope) { s.Holders = nil },
		"holder of no name":       func(s *permit.Scope) { s.Holders = []string{""} },
	} {
		s := scope()
		change(&s)
		require.NotEmpty(t, s.Check(), what)
	}
}
