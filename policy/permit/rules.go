package permit

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bounds of Article 68(12).
const (
	maxYears        = 10
	maxDeleteMonths = 6
)

// persons checks Article 68(10)(d): who may access the data, exactly one of
// them the principal investigator, each within the access period.
func (v *validator) persons(doc Document) {
	v.is(len(doc.Persons) > 0, "persons", "68(10)(d)", "", "name the natural persons who may access the data")
	leaders, seen := 0, map[string]bool{}
	for i, p := range doc.Persons {
		at := "persons[" + strconv.Itoa(i) + "]"
		v.id(at+".id", p.ID)
		v.is(!seen[p.ID], at+".id", "68(10)(d)", p.ID, "each person is named once")
		v.given(at+".name", p.Name)
		v.given(at+".affiliation", p.Affiliation)
		v.oneOf(at+".role", "68(10)(d)", p.Role, RolePI, RoleAnalyst)
		from, until := v.time(at+".from", p.From), v.time(at+".until", p.Until)
		if from && until {
			v.is(p.From.Before(p.Until), at+".until", "68(10)(e)", stamp(p.Until), "until is after from")
			v.is(!p.From.Before(doc.AccessPeriod.Start), at+".from", "68(10)(e)", stamp(p.From), "not before the access period starts")
			v.is(!p.Until.After(doc.AccessPeriod.End), at+".until", "68(10)(e)", stamp(p.Until), "not after the access period ends")
		}
		if p.Role == RolePI {
			leaders++
		}
		seen[p.ID] = true
	}
	v.is(leaders == 1, "persons", "68(10)(d)", strconv.Itoa(leaders)+" with role PI", "exactly one principal investigator")
}

// purposes checks the closed list of Article 53(1) and that points (a) to (c)
// are for public bodies, 53(2).
func (v *validator) purposes(doc Document) {
	v.is(len(doc.Purposes) > 0, "purposes", "68(10)(b)", "", "name at least one purpose of 53(1)")
	for i, p := range doc.Purposes {
		at := "purposes[" + strconv.Itoa(i) + "]"
		known := slices.Contains([]string{"53(1)(a)", "53(1)(b)", "53(1)(c)", "53(1)(d)", "53(1)(e)", "53(1)(f)"}, p.Code)
		v.is(known, at+".code", "53(1)", p.Code, "53(1)(a) to 53(1)(f) and nothing else")
		sub := p.Sub == "" || p.Code == "53(1)(e)" && (p.Sub == "i" || p.Sub == "ii")
		v.is(sub, at+".sub", "53(1)(e)", p.Sub, "only 53(1)(e) has sub-points, i and ii")
		v.is(!slices.Contains(doc.Purposes[:i], p), at, "schema", p.Code, "named once")
		reserved := p.Code == "53(1)(a)" || p.Code == "53(1)(b)" || p.Code == "53(1)(c)"
		v.is(!reserved || doc.User.IsPublicBody, at+".code", "53(2)", p.Code,
			"reserved to public bodies and those who act for them (user.is_public_body)")
	}
	v.given("purpose_description", doc.PurposeText)
	v.is(len(doc.Activities) > 0, "permitted_activities", "68(10)(b)", "", "for example train, evaluate")
	v.unique("permitted_activities", doc.Activities)
}

// datasets checks Article 68(10)(a).
func (v *validator) datasets(doc Document) {
	v.is(len(doc.Datasets) > 0, "datasets", "68(10)(a)", "", "name the datasets")
	for i, d := range doc.Datasets {
		at := "datasets[" + strconv.Itoa(i) + "]"
		v.is(validPURI(d.PURI), at+".id", "68(10)(a)", d.PURI, "the dataset's persistent URI (HealthDCAT-AP dct:identifier), without dot segments")
		if d.Version != "" {
			v.id(at+".version", d.Version)
		}
		overlap := slices.ContainsFunc(doc.Datasets[:i], func(o Dataset) bool {
			return o.PURI == d.PURI && (o.Version == d.Version || o.Version == "" || d.Version == "")
		})
		v.is(!overlap, at+".id", "68(10)(a)", d.PURI, "each dataset and version is named once; no version covers them all")
		v.is(len(d.Categories) > 0, at+".categories", "51(1)", "", "letters a to q")
		for j, c := range d.Categories {
			v.is(category(c), at+".categories["+strconv.Itoa(j)+"]", "51(1)", c,
				"a letter a to q, or a national category as XX:name (51(2))")
		}
		v.given(at+".holder", d.Holder)
		v.country(at+".source_country", d.Country)
		v.given(at+".format", d.Format)
		v.oneOf(at+".access_format", "66", d.AccessFormat, FormatAnonymised, FormatPseudonymised, FormatSynthetic)
		v.is(doc.LegalRegime != RegimeSandbox || d.AccessFormat == FormatSynthetic, at+".access_format", "regime",
			d.AccessFormat, "regime SANDBOX covers synthetic data only")
	}
}

func category(c string) bool {
	if len(c) == 1 {
		return c[0] >= 'a' && c[0] <= 'q'
	}
	country, name, ok := strings.Cut(c, ":")
	return ok && len(country) == 2 && strings.Trim(country, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == "" &&
		name != "" && len(name) <= 64 && strings.IndexFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
}

// periods checks Article 68(12): at most ten years, and deletion within six
// months after the end.
func (v *validator) periods(doc Document) {
	v.time("issued_at", doc.IssuedAt)
	p := doc.AccessPeriod
	start, end := v.time("access_period.start", p.Start), v.time("access_period.end", p.End)
	if start && end {
		v.is(p.Start.Before(p.End), "access_period.end", "68(10)(e)", stamp(p.End), "the end is after the start")
		v.is(!p.End.After(p.Start.AddDate(maxYears, 0, 0)), "access_period.end", "68(12)", stamp(p.End), "at most 10 years after the start")
	}
	by := doc.Retention.DeleteBy
	if v.time("retention.delete_by", by) && end {
		v.is(!by.Before(p.End), "retention.delete_by", "68(12)", stamp(by), "not before the access period ends")
		v.is(!by.After(addMonths(p.End, maxDeleteMonths)), "retention.delete_by", "68(12)", stamp(by), "at most 6 months after the access period ends")
	}
}

// addMonths goes to the last day of a shorter month instead of over it.
func addMonths(t time.Time, months int) time.Time {
	first := time.Date(t.Year(), t.Month()+time.Month(months), 1, t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), t.Location())
	last := first.AddDate(0, 1, -1).Day()
	return first.AddDate(0, 0, min(t.Day(), last)-1)
}
