package eu_test

import data.eu

period_cases := {
	"status REVOKED": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/permits/0/status", "value": "REVOKED"}],
		"want": {{"code": "permit_status", "basis": "permit_condition", "params": {"allowed": "AMENDED, GRANTED, RENEWED", "value": "REVOKED"}, "path": "permits[0].status"}},
	},
	"status SUSPENDED": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/permits/0/status", "value": "SUSPENDED"}],
		"want": {{"code": "permit_status", "basis": "permit_condition", "params": {"allowed": "AMENDED, GRANTED, RENEWED", "value": "SUSPENDED"}, "path": "permits[0].status"}},
	},
	"status EXPIRED": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/permits/0/status", "value": "EXPIRED"}],
		"want": {{"code": "permit_status", "basis": "permit_condition", "params": {"allowed": "AMENDED, GRANTED, RENEWED", "value": "EXPIRED"}, "path": "permits[0].status"}},
	},
	"status unknown": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/permits/0/status", "value": ""}],
		"want": {{"code": "permit_status", "basis": "permit_condition", "params": {"allowed": "AMENDED, GRANTED, RENEWED", "value": ""}, "path": "permits[0].status"}},
	},
	"status AMENDED": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/permits/0/status", "value": "AMENDED"}],
		"want": set(),
	},
	"status RENEWED": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/permits/0/status", "value": "RENEWED"}],
		"want": set(),
	},
	"missing status": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/permits/0/status"}],
		"want": {{"code": "permit_status", "basis": "permit_condition", "params": {"allowed": "AMENDED, GRANTED, RENEWED", "value": "missing"}, "path": "permits[0].status"}},
	},
	"issued as revoked": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/permits/0/document/status", "value": "REVOKED"}],
		"want": {{"code": "permit_status", "basis": "permit_condition", "params": {"allowed": "AMENDED, GRANTED, RENEWED", "value": "REVOKED"}, "path": "permits[0].document.status"}},
	},
	"missing issued status": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/permits/0/document/status"}],
		"want": {{"code": "permit_status", "basis": "permit_condition", "params": {"allowed": "AMENDED, GRANTED, RENEWED", "value": "missing"}, "path": "permits[0].document.status"}},
	},
	"newer version known": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/permits/0/latest", "value": false}],
		"want": {{"code": "permit_not_latest", "basis": "permit_condition", "params": {"value": "false"}, "path": "permits[0].latest"}},
	},
	"missing latest": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/permits/0/latest"}],
		"want": {{"code": "permit_not_latest", "basis": "permit_condition", "params": {"value": "missing"}, "path": "permits[0].latest"}},
	},
	"status at its age limit": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/permits/0/status_age_seconds", "value": 900}],
		"want": set(),
	},
	"status past its age limit": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/permits/0/status_age_seconds", "value": 901}],
		"want": {{"code": "permit_status_stale", "basis": "contract", "params": {"allowed": "900", "value": "901"}, "path": "permits[0].status_age_seconds"}},
	},
	"status from the near future": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/permits/0/status_age_seconds", "value": -60}],
		"want": set(),
	},
	"status from the future": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/permits/0/status_age_seconds", "value": -61}],
		"want": {{"code": "permit_status_stale", "basis": "contract", "params": {"allowed": "900", "value": "-61"}, "path": "permits[0].status_age_seconds"}},
	},
	"missing status age": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/permits/0/status_age_seconds"}],
		"want": {{"code": "permit_status_stale", "basis": "contract", "params": {"allowed": "900", "value": "missing"}, "path": "permits[0].status_age_seconds"}},
	},
	"missing status age limit": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/permits/0/status_max_age_seconds"}],
		"want": {{"code": "permit_status_stale", "basis": "contract", "params": {"allowed": "missing", "value": "30"}, "path": "permits[0].status_age_seconds"}},
	},
	"first moment of the period": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/now", "value": "2027-05-04T00:00:00Z"}],
		"want": set(),
	},
	"before the period": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/now", "value": "2027-05-03T23:59:59.999999Z"}],
		"want": {
			{"code": "permit_not_started", "basis": "permit_condition", "params": {"now": "2027-05-03T23:59:59.999999Z", "value": "2027-05-04T00:00:00Z"}, "path": "permits[0].document.access_period.start"},
			{"code": "person_not_valid_now", "basis": "permit_condition", "params": {"now": "2027-05-03T23:59:59.999999Z", "value": "ada@biotech.example"}, "path": "submitter.id"},
		},
	},
	"missing start": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/permits/0/document/access_period/start"}],
		"want": {{"code": "permit_not_started", "basis": "permit_condition", "params": {"now": "2027-05-04T10:00:00.000000Z", "value": "missing"}, "path": "permits[0].document.access_period.start"}},
	},
	"end of the period": {
		"base": "admission",
		"patch": [
			{"op": "replace", "path": "/now", "value": "2028-05-04T00:00:00Z"},
			{"op": "replace", "path": "/budget/valid_until", "value": "2029-01-01T00:00:00Z"},
		],
		"want": {
			{"code": "permit_expired", "basis": "permit_condition", "params": {"now": "2028-05-04T00:00:00Z", "value": "2028-05-04T00:00:00Z"}, "path": "permits[0].document.access_period.end"},
			{"code": "person_not_valid_now", "basis": "permit_condition", "params": {"now": "2028-05-04T00:00:00Z", "value": "ada@biotech.example"}, "path": "submitter.id"},
		},
	},
	"missing end": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/permits/0/document/access_period/end"}],
		"want": {{"code": "permit_expired", "basis": "permit_condition", "params": {"now": "2027-05-04T10:00:00.000000Z", "value": "missing"}, "path": "permits[0].document.access_period.end"}},
	},
	"ends with the permit": {
		"base": "admission",
		"patch": [
			{"op": "replace", "path": "/now", "value": "2028-05-03T22:59:50Z"},
			{"op": "replace", "path": "/budget/valid_until", "value": "2029-01-01T00:00:00Z"},
		],
		"want": set(),
	},
	"ends a second after the permit": {
		"base": "admission",
		"patch": [
			{"op": "replace", "path": "/now", "value": "2028-05-03T22:59:51Z"},
			{"op": "replace", "path": "/budget/valid_until", "value": "2029-01-01T00:00:00Z"},
		],
		"want": {{"code": "permit_ends_too_soon", "basis": "permit_condition", "params": {"allowed": "2028-05-04T00:00:00Z", "margin": "60", "value": "3550"}, "path": "job.resources.walltime_seconds"}},
	},
	"missing now": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/now"}],
		"want": {
			{"code": "permit_expired", "basis": "permit_condition", "params": {"now": "missing", "value": "2028-05-04T00:00:00Z"}, "path": "permits[0].document.access_period.end"},
			{"code": "permit_not_started", "basis": "permit_condition", "params": {"now": "missing", "value": "2027-05-04T00:00:00Z"}, "path": "permits[0].document.access_period.start"},
			{"code": "person_not_valid_now", "basis": "permit_condition", "params": {"now": "missing", "value": "ada@biotech.example"}, "path": "submitter.id"},
		},
	},
	"now is no time": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/now", "value": "yesterday"}],
		"want": {
			{"code": "permit_expired", "basis": "permit_condition", "params": {"now": "yesterday", "value": "2028-05-04T00:00:00Z"}, "path": "permits[0].document.access_period.end"},
			{"code": "permit_not_started", "basis": "permit_condition", "params": {"now": "yesterday", "value": "2027-05-04T00:00:00Z"}, "path": "permits[0].document.access_period.start"},
			{"code": "person_not_valid_now", "basis": "permit_condition", "params": {"now": "yesterday", "value": "ada@biotech.example"}, "path": "submitter.id"},
		},
	},
	"a real permit with everything there": {
		"base": "real",
		"patch": [],
		"want": set(),
	},
	"day before Chapter IV": {
		"base": "real",
		"patch": [
			{"op": "replace", "path": "/permits/0/document/access_period/start", "value": "2028-01-01T00:00:00Z"},
			{"op": "replace", "path": "/permits/0/document/access_period/end", "value": "2033-01-01T00:00:00Z"},
			{"op": "replace", "path": "/permits/0/document/persons/0/from", "value": "2028-01-01T00:00:00Z"},
			{"op": "replace", "path": "/permits/0/document/persons/0/until", "value": "2033-01-01T00:00:00Z"},
			{"op": "replace", "path": "/budget/valid_from", "value": "2028-01-01T00:00:00Z"},
			{"op": "replace", "path": "/permits/0/document/datasets/0/categories", "value": ["a"]},
			{"op": "replace", "path": "/site/datasets/0/categories", "value": ["a"]},
			{"op": "replace", "path": "/now", "value": "2029-03-25T23:59:59Z"},
		],
		"want": {{"code": "chapter_not_applicable", "basis": "anticipated", "params": {"from": "2029-03-26", "now": "2029-03-25T23:59:59Z", "value": "EHDS_PERMIT"}, "path": "permits[0].document.legal_regime"}},
	},
	"first day of Chapter IV": {
		"base": "real",
		"patch": [
			{"op": "replace", "path": "/permits/0/document/access_period/start", "value": "2028-01-01T00:00:00Z"},
			{"op": "replace", "path": "/permits/0/document/access_period/end", "value": "2033-01-01T00:00:00Z"},
			{"op": "replace", "path": "/permits/0/document/persons/0/from", "value": "2028-01-01T00:00:00Z"},
			{"op": "replace", "path": "/permits/0/document/persons/0/until", "value": "2033-01-01T00:00:00Z"},
			{"op": "replace", "path": "/budget/valid_from", "value": "2028-01-01T00:00:00Z"},
			{"op": "replace", "path": "/permits/0/document/datasets/0/categories", "value": ["a"]},
			{"op": "replace", "path": "/site/datasets/0/categories", "value": ["a"]},
			{"op": "replace", "path": "/now", "value": "2029-03-26T00:00:00Z"},
		],
		"want": set(),
	},
	"research cohorts the day before they follow": {
		"base": "real",
		"patch": [
			{"op": "replace", "path": "/permits/0/document/access_period/start", "value": "2028-01-01T00:00:00Z"},
			{"op": "replace", "path": "/permits/0/document/access_period/end", "value": "2033-01-01T00:00:00Z"},
			{"op": "replace", "path": "/permits/0/document/persons/0/from", "value": "2028-01-01T00:00:00Z"},
			{"op": "replace", "path": "/permits/0/document/persons/0/until", "value": "2033-01-01T00:00:00Z"},
			{"op": "replace", "path": "/budget/valid_from", "value": "2028-01-01T00:00:00Z"},
			{"op": "replace", "path": "/now", "value": "2031-03-25T23:59:59Z"},
		],
		"want": {{"code": "category_not_applicable", "basis": "anticipated", "params": {"category": "p", "from": "2031-03-26", "now": "2031-03-25T23:59:59Z", "value": "a, p"}, "path": "permits[0].document.datasets[0].categories"}},
	},
	"research cohorts the day they follow": {
		"base": "real",
		"patch": [
			{"op": "replace", "path": "/permits/0/document/access_period/start", "value": "2028-01-01T00:00:00Z"},
			{"op": "replace", "path": "/permits/0/document/access_period/end", "value": "2033-01-01T00:00:00Z"},
			{"op": "replace", "path": "/permits/0/document/persons/0/from", "value": "2028-01-01T00:00:00Z"},
			{"op": "replace", "path": "/permits/0/document/persons/0/until", "value": "2033-01-01T00:00:00Z"},
			{"op": "replace", "path": "/budget/valid_from", "value": "2028-01-01T00:00:00Z"},
			{"op": "replace", "path": "/now", "value": "2031-03-26T00:00:00Z"},
		],
		"want": set(),
	},
	"access approval before Chapter IV": {
		"base": "real",
		"patch": [
			{"op": "replace", "path": "/permits/0/document/access_period/start", "value": "2028-01-01T00:00:00Z"},
			{"op": "replace", "path": "/permits/0/document/access_period/end", "value": "2033-01-01T00:00:00Z"},
			{"op": "replace", "path": "/permits/0/document/persons/0/from", "value": "2028-01-01T00:00:00Z"},
			{"op": "replace", "path": "/permits/0/document/persons/0/until", "value": "2033-01-01T00:00:00Z"},
			{"op": "replace", "path": "/budget/valid_from", "value": "2028-01-01T00:00:00Z"},
			{"op": "replace", "path": "/permits/0/document/datasets/0/categories", "value": ["a"]},
			{"op": "replace", "path": "/site/datasets/0/categories", "value": ["a"]},
			{"op": "replace", "path": "/now", "value": "2029-03-25T23:59:59Z"},
			{"op": "replace", "path": "/permits/0/document/legal_regime", "value": "ACCESS_APPROVAL"},
		],
		"want": {{"code": "chapter_not_applicable", "basis": "anticipated", "params": {"from": "2029-03-26", "now": "2029-03-25T23:59:59Z", "value": "ACCESS_APPROVAL"}, "path": "permits[0].document.legal_regime"}},
	},
	"national permit before Chapter IV": {
		"base": "real",
		"patch": [
			{"op": "replace", "path": "/permits/0/document/access_period/start", "value": "2028-01-01T00:00:00Z"},
			{"op": "replace", "path": "/permits/0/document/access_period/end", "value": "2033-01-01T00:00:00Z"},
			{"op": "replace", "path": "/permits/0/document/persons/0/from", "value": "2028-01-01T00:00:00Z"},
			{"op": "replace", "path": "/permits/0/document/persons/0/until", "value": "2033-01-01T00:00:00Z"},
			{"op": "replace", "path": "/budget/valid_from", "value": "2028-01-01T00:00:00Z"},
			{"op": "replace", "path": "/now", "value": "2029-03-25T23:59:59Z"},
			{"op": "replace", "path": "/permits/0/document/legal_regime", "value": "NATIONAL_PERMIT"},
		],
		"want": set(),
	},
	"data use agreement before Chapter IV": {
		"base": "real",
		"patch": [
			{"op": "replace", "path": "/permits/0/document/access_period/start", "value": "2028-01-01T00:00:00Z"},
			{"op": "replace", "path": "/permits/0/document/access_period/end", "value": "2033-01-01T00:00:00Z"},
			{"op": "replace", "path": "/permits/0/document/persons/0/from", "value": "2028-01-01T00:00:00Z"},
			{"op": "replace", "path": "/permits/0/document/persons/0/until", "value": "2033-01-01T00:00:00Z"},
			{"op": "replace", "path": "/budget/valid_from", "value": "2028-01-01T00:00:00Z"},
			{"op": "replace", "path": "/now", "value": "2029-03-25T23:59:59Z"},
			{"op": "replace", "path": "/permits/0/document/legal_regime", "value": "DATA_USE_AGREEMENT"},
		],
		"want": set(),
	},
}

test_period[name] if {
	some name, c in period_cases
	found := eu.deny | eu.review with input as json.patch(data.fixture[c.base], c.patch)
	found == c.want
}
