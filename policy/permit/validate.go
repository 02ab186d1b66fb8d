package permit

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Values of Dataset.AccessFormat.
const (
	FormatAnonymised    = "ANONYMISED"
	FormatPseudonymised = "PSEUDONYMISED"
	FormatSynthetic     = "SYNTHETIC"
)

// Roles of a Person.
const (
	RolePI      = "PI"
	RoleAnalyst = "ANALYST"
)

// Problem is a rule that a document breaks.
type Problem struct {
	Field string // for example "persons[1].role"
	Rule  string // the article, or "schema" for what makes the document readable
	Value string
	Help  string
}

// validator collects problems.
type validator struct{ found []Problem }

func (v *validator) is(ok bool, field, rule, value, help string) {
	if !ok {
		v.found = append(v.found, Problem{Field: field, Rule: rule, Value: cut(value), Help: help})
	}
}

func (v *validator) given(field, value string) {
	v.is(strings.TrimSpace(value) != "" && len(value) <= 10_000, field, "schema", value, "fill it in")
}

func (v *validator) id(field, value string) {
	ok := value != "" && len(value) <= 200 && strings.IndexFunc(value, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
	v.is(ok, field, "schema", value, "an id is printable ASCII without spaces, at most 200 characters")
}

func (v *validator) country(field, value string) {
	ok := len(value) == 2 && strings.Trim(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
	v.is(ok, field, "schema", value, "two capital letters (ISO 3166-1)")
}

func (v *validator) oneOf(field, rule, value string, allowed ...string) {
	v.is(slices.Contains(allowed, value), field, rule, value, "one of "+strings.Join(allowed, ", "))
}

func (v *validator) time(field string, t time.Time) bool {
	ok := !t.IsZero() && utc(t) && t.Year() >= 2000 && t.Year() <= 9999
	v.is(ok, field, "schema", stamp(t), "a time in UTC, as 2026-01-31T00:00:00Z")
	return ok
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339)
}

// Validate lists every rule that a document breaks on its own, whatever the
// moment, job and site: what an import refuses. Rules cite Regulation (EU)
// 2025/327, which the document mirrors.
func Validate(doc Document) []Problem {
	v := &validator{}
	v.identity(doc)
	v.parties(doc)
	v.persons(doc)
	v.purposes(doc)
	v.datasets(doc)
	v.periods(doc)
	v.environment(doc)
	v.outputs(doc)
	v.conditions(doc)
	return v.found
}

func (v *validator) identity(doc Document) {
	v.is(doc.Schema == Schema, "schema", "schema", doc.Schema, "this version reads "+Schema)
	v.id("id", doc.ID)
	v.is(doc.Version >= 1, "version", "schema", strconv.Itoa(doc.Version), "versions count from 1")
	if doc.Supersedes != "" {
		v.id("supersedes", doc.Supersedes)
		v.is(doc.Supersedes != doc.ID, "supersedes", "schema", doc.Supersedes, "an amended or renewed permit has an id of its own")
	}
	v.given("reference", doc.Reference)
	switch {
	case doc.LegalRegime == RegimeEHDSRequest:
		v.is(false, "legal_regime", "69(1)", doc.LegalRegime, "a data request is answered in statistics and never gives access; apply for a permit")
	case !regimeGivesAccess(doc.LegalRegime):
		v.oneOf("legal_regime", "54", doc.LegalRegime, regimes()...)
	}
	// What happens to a permit later is said by status statements.
	v.oneOf("status", "68(10)", doc.Status, StatusGranted, StatusAmended, StatusRenewed)
	hex := doc.Decision.SHA256
	v.is(len(hex) == 64 && strings.Trim(hex, "0123456789abcdef") == "", "document.sha256", "68(1)", hex,
		"the SHA-256 of the signed legal decision, 64 lower-case hexadecimal digits")
	v.given("document.media_type", doc.Decision.MediaType)
	v.time("document.signed_at", doc.Decision.SignedAt)
}

func regimes() []string {
	return []string{RegimeSandbox, RegimeEHDSPermit, RegimeNationalPermit, RegimeAccessApproval, RegimeDataUseAgreement}
}

func regimeGivesAccess(r string) bool { return slices.Contains(regimes(), r) }

func (v *validator) parties(doc Document) {
	v.id("issuer.hdab_id", doc.Issuer.HDAB)
	v.given("issuer.name", doc.Issuer.Name)
	v.country("issuer.country", doc.Issuer.Country)
	v.given("issuer.contact", doc.Issuer.Contact)
	v.oneOf("user.kind", "67(2)(a)", doc.User.Kind, "legal", "natural")
	v.given("user.name", doc.User.Name)
	v.given("user.id", doc.User.ID)
	v.country("user.country", doc.User.Country)
	v.is(doc.ProhibitedAck, "prohibited_uses_acknowledged", "54", "false", "the data user acknowledges the prohibited uses")
}

func (v *validator) conditions(doc Document) {
	seen := map[string]bool{}
	for i, c := range doc.Conditions {
		at := "conditions[" + strconv.Itoa(i) + "]"
		v.id(at+".id", c.ID)
		v.is(!seen[c.ID], at+".id", "schema", c.ID, "each condition has its own id")
		v.given(at+".text", c.Text)
		seen[c.ID] = true
	}
}

func (v *validator) environment(doc Document) {
	v.id("spe.id", doc.SPE.ID)
	v.given("spe.name", doc.SPE.Name)
	v.given("spe.operator", doc.SPE.Operator)
	v.country("spe.country", doc.SPE.Country)
	v.is(len(doc.SPE.Sites) > 0, "spe.sites", "68(10)(f)", "", "name the sites that may run the work")
	v.unique("spe.sites", doc.SPE.Sites)
	for i, c := range doc.SPE.Components {
		at := "spe.software_components[" + strconv.Itoa(i) + "]"
		v.given(at+".image", c.Image)
		hex, ok := strings.CutPrefix(c.Digest, "sha256:")
		ok = ok && len(hex) == 64 && strings.Trim(hex, "0123456789abcdef") == ""
		v.is(ok || c.Digest == "none", at+".digest", "68(10)(f)", c.Digest, `"sha256:" and 64 digits, or "none" for an empty base; tags move`)
	}
	v.is(doc.SPE.MaxGPUs >= 0, "spe.max_gpus", "67(2)(i)", strconv.Itoa(doc.SPE.MaxGPUs), "0 sets no limit")
	hours := doc.SPE.GPUHours
	v.is(hours >= 0 && !math.IsInf(hours, 0) && hours < 1e12, "spe.gpu_hours", "67(2)(i)",
		strconv.FormatFloat(hours, 'g', -1, 64), "0 sets no limit")
	e := doc.Execution
	v.oneOf("execution.telemetry", "73(1)", e.Telemetry, "sealed", "metrics", "full")
	v.is(e.Telemetry != "full" || doc.LegalRegime == RegimeSandbox, "execution.telemetry", "73(1)", e.Telemetry,
		"full telemetry is for synthetic data, regime "+RegimeSandbox)
	v.oneOf("execution.own_code", "68(10)(f)", e.OwnCode, "none", "reviewed", "free_under_output_review")
	v.oneOf("execution.network", "73(1)(b)", e.Network, "none", "job")
	v.oneOf("execution.placement", "68(10)(f)", e.Placement, "at-holder", "at-SPE", "staged-to-HPC")
}

func (v *validator) outputs(doc Document) {
	v.unique("outputs.allowed_types", doc.Outputs.AllowedTypes)
	v.oneOf("outputs.model_export", "73(2)", doc.Outputs.ModelExport, "none", "with_report")
	v.given("outputs.reviewer_authority", doc.Outputs.Reviewer)
}

func (v *validator) unique(field string, list []string) {
	seen := map[string]bool{}
	for i, s := range list {
		at := field + "[" + strconv.Itoa(i) + "]"
		v.id(at, s)
		v.is(!seen[s], at, "schema", s, "named once")
		seen[s] = true
	}
}
