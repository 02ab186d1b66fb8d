package eu_test

import data.eu

person_cases := {
	"a service submits": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/submitter/kind", "value": "service"}],
		"want": {{"code": "submitter_not_natural", "basis": "permit_condition", "params": {"value": "service"}, "path": "submitter.kind"}},
	},
	"missing kind": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/submitter/kind"}],
		"want": {{"code": "submitter_not_natural", "basis": "permit_condition", "params": {"value": "missing"}, "path": "submitter.kind"}},
	},
	"unknown sign-in": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/submitter/method", "value": "password"}],
		"want": {{"code": "sign_in_unknown", "basis": "contract", "params": {"allowed": "local_token without mfa, oidc", "value": "password"}, "path": "submitter.method"}},
	},
	"missing sign-in": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/submitter/method"}],
		"want": {{"code": "sign_in_unknown", "basis": "contract", "params": {"allowed": "local_token without mfa, oidc", "value": "missing"}, "path": "submitter.method"}},
	},
	"a local token said to be several factors": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/submitter/mfa", "value": true}],
		"want": {{"code": "sign_in_unknown", "basis": "contract", "params": {"allowed": "local_token without mfa, oidc", "value": "local_token"}, "path": "submitter.method"}},
	},
	"missing mfa": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/submitter/mfa"}],
		"want": {{"code": "sign_in_unknown", "basis": "contract", "params": {"allowed": "local_token without mfa, oidc", "value": "local_token"}, "path": "submitter.method"}},
	},
	"signed in by oidc": {
		"base": "admission",
		"patch": [
			{"op": "replace", "path": "/submitter/method", "value": "oidc"},
			{"op": "replace", "path": "/submitter/mfa", "value": true},
		],
		"want": set(),
	},
	"not one of the persons": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/submitter/id", "value": "eve@biotech.example"}],
		"want": {{"code": "person_not_listed", "basis": "permit_condition", "params": {"value": "eve@biotech.example"}, "path": "submitter.id"}},
	},
	"nobody": {
		"base": "admission",
		"patch": [
			{"op": "replace", "path": "/submitter/id", "value": ""},
			{"op": "replace", "path": "/permits/0/document/persons/0/id", "value": ""},
		],
		"want": {{"code": "person_not_listed", "basis": "permit_condition", "params": {"value": ""}, "path": "submitter.id"}},
	},
	"missing submitter": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/submitter/id"}],
		"want": {{"code": "person_not_listed", "basis": "permit_condition", "params": {"value": "missing"}, "path": "submitter.id"}},
	},
	"missing persons": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/permits/0/document/persons"}],
		"want": {{"code": "person_not_listed", "basis": "permit_condition", "params": {"value": "ada@biotech.example"}, "path": "submitter.id"}},
	},
	"person not yet": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/permits/0/document/persons/0/from", "value": "2027-05-04T10:00:01Z"}],
		"want": {{"code": "person_not_valid_now", "basis": "permit_condition", "params": {"now": "2027-05-04T10:00:00.000000Z", "value": "ada@biotech.example"}, "path": "submitter.id"}},
	},
	"person no longer": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/permits/0/document/persons/0/until", "value": "2027-05-04T10:00:00Z"}],
		"want": {{"code": "person_not_valid_now", "basis": "permit_condition", "params": {"now": "2027-05-04T10:00:00.000000Z", "value": "ada@biotech.example"}, "path": "submitter.id"}},
	},
	"person for exactly as long as the job": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/permits/0/document/persons/0/until", "value": "2027-05-04T11:00:10Z"}],
		"want": set(),
	},
	"person for a second less than the job and its margin": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/permits/0/document/persons/0/until", "value": "2027-05-04T11:00:09Z"}],
		"want": {{"code": "permit_ends_too_soon", "basis": "permit_condition", "params": {"allowed": "2027-05-04T11:00:09Z", "margin": "60", "value": "3550"}, "path": "job.resources.walltime_seconds"}},
	},
	"another person for less": {
		"base": "admission",
		"patch": [{"op": "add", "path": "/permits/0/document/persons/1", "value": {"id": "grace@biotech.example", "from": "2027-05-04T00:00:00Z", "until": "2027-05-04T10:00:01Z", "role": "ANALYST"}}],
		"want": set(),
	},
	"missing until": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/permits/0/document/persons/0/until"}],
		"want": {{"code": "person_not_valid_now", "basis": "permit_condition", "params": {"now": "2027-05-04T10:00:00.000000Z", "value": "ada@biotech.example"}, "path": "submitter.id"}},
	},
}

test_person[name] if {
	some name, c in person_cases
	found := eu.deny | eu.review with input as json.patch(data.fixture[c.base], c.patch)
	found == c.want
}
