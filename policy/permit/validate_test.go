package permit_test

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/valico-hpc/valico/policy/permit"
)

func TestTheTemplateIsValidOnEveryDay(t *testing.T) {
	t.Parallel()
	for day := range 800 {
		at := time.Date(2027, 1, 1, 23, 30, 0, 0, time.FixedZone("x", -7200)).AddDate(0, 0, day)
		require.Empty(t, permit.Validate(permit.Template(at)), at)
	}
}

// breakage breaks one rule of a valid document.
type breakage struct {
	field, rule string
	do          func(*permit.Document)
}

func breakages() []breakage {
	type doc = *permit.Document
	return slices.Concat([]breakage{
		{"schema", "schema", func(d doc) { d.Schema = "x" }},
		{"id", "schema", func(d doc) { d.ID = "" }},
		{"id", "schema", func(d doc) { d.ID = "a b" }},
		{"version", "schema", func(d doc) { d.Version = 0 }},
		{"supersedes", "schema", func(d doc) { d.Supersedes = d.ID }},
		{"supersedes", "schema", func(d doc) { d.Supersedes = "a b" }},
		{"reference", "schema", func(d doc) { d.Reference = " " }},
		{"legal_regime", "69(1)", func(d doc) { d.LegalRegime = permit.RegimeEHDSRequest; sealed(d) }},
		{"legal_regime", "54", func(d doc) { d.LegalRegime = "ANY"; sealed(d) }},
		{"status", "68(10)", func(d doc) { d.Status = permit.StatusRevoked }},
		{"document.sha256", "68(1)", func(d doc) { d.Decision.SHA256 = "" }},
		{"document.sha256", "68(1)", func(d doc) { d.Decision.SHA256 = strings.Repeat("A", 64) }},
		{"document.media_type", "schema", func(d doc) { d.Decision.MediaType = "" }},
		{"document.signed_at", "schema", func(d doc) { d.Decision.SignedAt = time.Time{} }},
		{"issuer.hdab_id", "schema", func(d doc) { d.Issuer.HDAB = "" }},
		{"issuer.name", "schema", func(d doc) { d.Issuer.Name = "" }},
		{"issuer.country", "schema", func(d doc) { d.Issuer.Country = "Italy" }},
		{"issuer.contact", "schema", func(d doc) { d.Issuer.Contact = "" }},
		{"user.kind", "67(2)(a)", func(d doc) { d.User.Kind = "robot" }},
		{"user.name", "schema", func(d doc) { d.User.Name = "" }},
		{"user.id", "schema", func(d doc) { d.User.ID = "" }},
		{"user.country", "schema", func(d doc) { d.User.Country = "it" }},
		{"prohibited_uses_acknowledged", "54", func(d doc) { d.ProhibitedAck = false }},
		{"persons", "68(10)(d)", func(d doc) { d.Persons[0].Role = permit.RoleAnalyst }},
		{"persons", "68(10)(d)", func(d doc) { d.Persons = append(d.Persons, d.Persons[0]); d.Persons[1].ID = "b" }},
		{"persons[0].role", "68(10)(d)", func(d doc) {
			d.Persons = append(d.Persons, d.Persons[0])
			d.Persons[1].ID, d.Persons[0].Role = "b", "ADMIN"
		}},
		{"persons[0].id", "schema", func(d doc) { d.Persons[0].ID = "" }},
		{"persons[0].name", "schema", func(d doc) { d.Persons[0].Name = "" }},
		{"persons[0].affiliation", "schema", func(d doc) { d.Persons[0].Affiliation = "" }},
		{"persons[1].id", "68(10)(d)", func(d doc) { d.Persons = append(d.Persons, d.Persons[0]); d.Persons[1].Role = permit.RoleAnalyst }},
		{"persons[0].until", "68(10)(e)", func(d doc) { d.Persons[0].Until = d.Persons[0].From }},
		{"persons[0].from", "68(10)(e)", func(d doc) { d.Persons[0].From = d.AccessPeriod.Start.Add(-time.Second) }},
		{"persons[0].until", "68(10)(e)", func(d doc) { d.Persons[0].Until = d.AccessPeriod.End.Add(time.Second) }},
		{"persons[0].from", "schema", func(d doc) { d.Persons[0].From = time.Time{} }},
	}, purposeAndDataBreakages(), environmentBreakages())
}

func sealed(d *permit.Document) { d.Execution.Telemetry = "sealed" }

func purposeAndDataBreakages() []breakage {
	type doc = *permit.Document
	return []breakage{
		{"purposes", "68(10)(b)", func(d doc) { d.Purposes = nil }},
		{"purposes[0].code", "53(1)", func(d doc) { d.Purposes[0] = permit.Purpose{Code: "53(1)(g)"} }},
		{"purposes[0].code", "53(2)", func(d doc) { d.Purposes[0] = permit.Purpose{Code: "53(1)(a)"} }},
		{"purposes[0].sub", "53(1)(e)", func(d doc) { d.Purposes[0].Sub = "iii" }},
		{"purposes[0].sub", "53(1)(e)", func(d doc) { d.Purposes[0] = permit.Purpose{Code: "53(1)(f)", Sub: "i"} }},
		{"purposes[1]", "schema", func(d doc) { d.Purposes = append(d.Purposes, d.Purposes[0]) }},
		{"purpose_description", "schema", func(d doc) { d.PurposeText = "" }},
		{"permitted_activities", "68(10)(b)", func(d doc) { d.Activities = nil }},
		{"permitted_activities[1]", "schema", func(d doc) { d.Activities[1] = d.Activities[0] }},
		{"datasets", "68(10)(a)", func(d doc) { d.Datasets = nil }},
		{"datasets[0].id", "68(10)(a)", func(d doc) { d.Datasets[0].PURI = "cohort" }},
		{"datasets[0].id", "68(10)(a)", func(d doc) { d.Datasets[0].PURI += "/../x" }},
		{"datasets[0].version", "schema", func(d doc) { d.Datasets[0].Version = "a b" }},
		{"datasets[1].id", "68(10)(a)", func(d doc) { d.Datasets = append(d.Datasets, d.Datasets[0]) }},
		{"datasets[1].id", "68(10)(a)", func(d doc) { d.Datasets = append(d.Datasets, d.Datasets[0]); d.Datasets[1].Version = "" }},
		{"datasets[0].categories", "51(1)", func(d doc) { d.Datasets[0].Categories = nil }},
		{"datasets[0].categories[0]", "51(1)", func(d doc) { d.Datasets[0].Categories = []string{"r"} }},
		{"datasets[0].categories[0]", "51(1)", func(d doc) { d.Datasets[0].Categories = []string{"it:x"} }},
		{"datasets[0].holder", "schema", func(d doc) { d.Datasets[0].Holder = "" }},
		{"datasets[0].source_country", "schema", func(d doc) { d.Datasets[0].Country = "" }},
		{"datasets[0].format", "schema", func(d doc) { d.Datasets[0].Format = "" }},
		{"datasets[0].access_format", "66", func(d doc) { d.LegalRegime, d.Datasets[0].AccessFormat = permit.RegimeEHDSPermit, "RAW"; sealed(d) }},
		{"datasets[0].access_format", "regime", func(d doc) { d.Datasets[0].AccessFormat = permit.FormatAnonymised }},
		{"issued_at", "schema", func(d doc) { d.IssuedAt = time.Time{} }},
		{"issued_at", "schema", func(d doc) { d.IssuedAt = d.IssuedAt.In(time.FixedZone("x", 3600)) }},
		{"access_period.end", "68(12)", func(d doc) { d.AccessPeriod.End = d.AccessPeriod.Start.AddDate(10, 0, 0).Add(time.Second); keep(d) }},
		{"access_period.start", "schema", func(d doc) { d.AccessPeriod.Start = time.Time{} }},
		{"retention.delete_by", "68(12)", func(d doc) { d.Retention.DeleteBy = d.AccessPeriod.End.AddDate(0, 6, 0).Add(time.Second) }},
		{"retention.delete_by", "68(12)", func(d doc) { d.Retention.DeleteBy = d.AccessPeriod.End.Add(-time.Second) }},
		{"retention.delete_by", "schema", func(d doc) { d.Retention.DeleteBy = time.Time{} }},
	}
}

// keep moves what must lie at or after the end of the period with it.
func keep(d *permit.Document) { d.Retention.DeleteBy = d.AccessPeriod.End }

func environmentBreakages() []breakage {
	type doc = *permit.Document
	return []breakage{
		{"spe.id", "schema", func(d doc) { d.SPE.ID = "" }},
		{"spe.name", "schema", func(d doc) { d.SPE.Name = "" }},
		{"spe.operator", "schema", func(d doc) { d.SPE.Operator = "" }},
		{"spe.country", "schema", func(d doc) { d.SPE.Country = "" }},
		{"spe.sites", "68(10)(f)", func(d doc) { d.SPE.Sites = nil }},
		{"spe.sites[1]", "schema", func(d doc) { d.SPE.Sites = append(d.SPE.Sites, d.SPE.Sites[0]) }},
		{"spe.software_components[0].digest", "68(10)(f)", func(d doc) { d.SPE.Components[0].Digest = "latest" }},
		{"spe.software_components[0].image", "schema", func(d doc) { d.SPE.Components[0].Image = "" }},
		{"spe.max_gpus", "67(2)(i)", func(d doc) { d.SPE.MaxGPUs = -1 }},
		{"spe.gpu_hours", "67(2)(i)", func(d doc) { d.SPE.GPUHours = -0.5 }},
		{"spe.gpu_hours", "67(2)(i)", func(d doc) { d.SPE.GPUHours = math.NaN() }},
		{"spe.gpu_hours", "67(2)(i)", func(d doc) { d.SPE.GPUHours = math.Inf(1) }},
		{"execution.telemetry", "73(1)", func(d doc) { d.Execution.Telemetry = "" }},
		{"execution.own_code", "68(10)(f)", func(d doc) { d.Execution.OwnCode = "any" }},
		{"execution.network", "73(1)(b)", func(d doc) { d.Execution.Network = "internet" }},
		{"execution.placement", "68(10)(f)", func(d doc) { d.Execution.Placement = "" }},
		{"outputs.allowed_types[2]", "schema", func(d doc) { d.Outputs.AllowedTypes = append(d.Outputs.AllowedTypes, "model") }},
		{"outputs.model_export", "73(2)", func(d doc) { d.Outputs.ModelExport = "yes" }},
		{"outputs.reviewer_authority", "schema", func(d doc) { d.Outputs.Reviewer = "" }},
		{"conditions[0].id", "schema", func(d doc) { d.Conditions = []permit.Condition{{Text: "x"}} }},
		{"conditions[0].text", "schema", func(d doc) { d.Conditions = []permit.Condition{{ID: "x"}} }},
		{"conditions[1].id", "schema", func(d doc) { d.Conditions = []permit.Condition{{ID: "x", Text: "x"}, {ID: "x", Text: "x"}} }},
	}
}

func TestEachBrokenRuleIsToldAloneWithItsArticle(t *testing.T) {
	t.Parallel()
	for _, b := range breakages() {
		doc := permit.Template(now)
		b.do(&doc)
		found := permit.Validate(doc)
		require.NotEmpty(t, found, b.field)
		require.Len(t, found, 1, "%s: %v", b.field, found)
		require.Equal(t, b.field, found[0].Field)
		require.Equal(t, b.rule, found[0].Rule, b.field)
		require.NotEmpty(t, found[0].Help, b.field)
	}
}

func TestFullTelemetryIsForSyntheticData(t *testing.T) {
	t.Parallel()
	doc := permit.Template(now)
	doc.LegalRegime = permit.RegimeEHDSPermit
	doc.Datasets[0].AccessFormat = permit.FormatPseudonymised
	found := permit.Validate(doc)
	require.Len(t, found, 1)
	require.Equal(t, "execution.telemetry", found[0].Field)
	sealed(&doc)
	require.Empty(t, permit.Validate(doc))
}

func TestEveryFaultIsToldAtOnce(t *testing.T) {
	t.Parallel()
	found := permit.Validate(permit.Document{})
	fields := map[string]bool{}
	for _, p := range found {
		fields[p.Field] = true
	}
	for _, f := range []string{"schema", "id", "persons", "purposes", "datasets", "access_period.start", "spe.sites", "document.sha256", "outputs.model_export"} {
		require.True(t, fields[f], f)
	}
}

func TestTheBoundsOfTheLawAreIncluded(t *testing.T) {
	t.Parallel()
	doc := permit.Template(now)
	doc.AccessPeriod.End = doc.AccessPeriod.Start.AddDate(10, 0, 0)
	doc.Retention.DeleteBy = doc.AccessPeriod.End.AddDate(0, 6, 0)
	require.Empty(t, permit.Validate(doc))

	// Six months after 31 August is the last of February, not a day in March.
	doc.AccessPeriod.End = time.Date(2027, 8, 31, 0, 0, 0, 0, time.UTC)
	doc.Persons[0].Until = doc.AccessPeriod.End
	doc.Retention.DeleteBy = time.Date(2028, 2, 29, 0, 0, 0, 0, time.UTC)
	require.Empty(t, permit.Validate(doc))
	doc.Retention.DeleteBy = time.Date(2028, 3, 1, 0, 0, 0, 0, time.UTC)
	require.Len(t, permit.Validate(doc), 1)

	doc = permit.Template(now)
	doc.Datasets[0].Categories = []string{"a", "q", "IT:registro"}
	doc.User.IsPublicBody = true
	doc.Purposes = []permit.Purpose{{Code: "53(1)(a)"}, {Code: "53(1)(e)"}, {Code: "53(1)(e)", Sub: "i"}}
	require.Empty(t, permit.Validate(doc))
}
