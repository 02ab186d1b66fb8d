package lib_test

import data.lib

at(regime, now) := json.patch(data.fixture.admission, [
	{"op": "replace", "path": "/permits/0/document/legal_regime", "value": regime},
	{"op": "replace", "path": "/now", "value": now},
])

basis_cases := {
	"ehds permit, the day before": {"regime": "EHDS_PERMIT", "now": "2029-03-25T23:59:59.999999Z", "want": "permit_condition"},
	"ehds permit, the day": {"regime": "EHDS_PERMIT", "now": "2029-03-26T00:00:00Z", "want": "in_force"},
	"ehds permit, today": {"regime": "EHDS_PERMIT", "now": "2026-11-24T00:00:00Z", "want": "permit_condition"},
	"access approval, the day before": {"regime": "ACCESS_APPROVAL", "now": "2029-03-25T23:59:59Z", "want": "permit_condition"},
	"access approval, the day": {"regime": "ACCESS_APPROVAL", "now": "2029-03-26T00:00:00Z", "want": "in_force"},
	"national permit, long after": {"regime": "NATIONAL_PERMIT", "now": "2032-01-01T00:00:00Z", "want": "permit_condition"},
	"sandbox, long after": {"regime": "SANDBOX", "now": "2032-01-01T00:00:00Z", "want": "permit_condition"},
	"no time": {"regime": "EHDS_PERMIT", "now": "soon", "want": "permit_condition"},
	"no regime": {"regime": null, "now": "2032-01-01T00:00:00Z", "want": "permit_condition"},
}

test_basis[name] if {
	some name, c in basis_cases
	lib.ehds == c.want with input as at(c.regime, c.now)
}

calendar_cases := {
	"before both": {"now": "2029-03-25T23:59:59Z", "chapter": false, "later": false},
	"first day of the chapter": {"now": "2029-03-26T00:00:00Z", "chapter": true, "later": false},
	"before the later categories": {"now": "2031-03-25T23:59:59Z", "chapter": true, "later": false},
	"first day of the later categories": {"now": "2031-03-26T00:00:00Z", "chapter": true, "later": true},
	"another zone": {"now": "2029-03-26T00:30:00+01:00", "chapter": false, "later": false},
}

applies if lib.chapter_iv_applies

later if lib.later_categories_apply

test_calendar[name] if {
	some name, c in calendar_cases
	chapter := [true | applies] == [true] with input as at("EHDS_PERMIT", c.now)
	chapter == c.chapter
	follows := [true | later] == [true] with input as at("EHDS_PERMIT", c.now)
	follows == c.later
}
