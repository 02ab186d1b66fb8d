package eu_test

import data.eu

purpose_cases := {
	"purpose outside Article 53": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/purpose/code", "value": "53(1)(g)"}],
		"want": {
			{"code": "purpose_not_permitted", "basis": "permit_condition", "params": {"allowed": "53(1)(e)", "sub": "ii", "value": "53(1)(g)"}, "path": "job.purpose.code"},
			{"code": "purpose_unknown", "basis": "permit_condition", "params": {"allowed": "53(1)(a), 53(1)(b), 53(1)(c), 53(1)(d), 53(1)(e), 53(1)(f)", "value": "53(1)(g)"}, "path": "job.purpose.code"},
		},
	},
	"missing purpose": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/job/purpose"}],
		"want": {
			{"code": "purpose_not_permitted", "basis": "permit_condition", "params": {"allowed": "53(1)(e)", "sub": "missing", "value": "missing"}, "path": "job.purpose.code"},
			{"code": "purpose_unknown", "basis": "permit_condition", "params": {"allowed": "53(1)(a), 53(1)(b), 53(1)(c), 53(1)(d), 53(1)(e), 53(1)(f)", "value": "missing"}, "path": "job.purpose.code"},
		},
	},
	"purpose not granted": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/purpose", "value": {"code": "53(1)(f)", "sub": ""}}],
		"want": {{"code": "purpose_not_permitted", "basis": "permit_condition", "params": {"allowed": "53(1)(e)", "sub": "", "value": "53(1)(f)"}, "path": "job.purpose.code"}},
	},
	"sub-point not granted": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/purpose/sub", "value": "i"}],
		"want": {{"code": "purpose_not_permitted", "basis": "permit_condition", "params": {"allowed": "53(1)(e)", "sub": "i", "value": "53(1)(e)"}, "path": "job.purpose.code"}},
	},
	"whole point granted": {
		"base": "admission",
		"patch": [
			{"op": "remove", "path": "/permits/0/document/purposes/0/sub"},
			{"op": "replace", "path": "/job/purpose/sub", "value": "i"},
		],
		"want": set(),
	},
	"activity not granted": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/activity", "value": "inference_internal"}],
		"want": {{"code": "activity_not_permitted", "basis": "permit_condition", "params": {"allowed": "train, evaluate", "value": "inference_internal"}, "path": "job.activity"}},
	},
	"training for another purpose": {
		"base": "admission",
		"patch": [
			{"op": "replace", "path": "/job/activity", "value": "fine_tune"},
			{"op": "replace", "path": "/job/purpose", "value": {"code": "53(1)(d)", "sub": ""}},
			{"op": "replace", "path": "/permits/0/document/purposes", "value": [{"code": "53(1)(d)"}]},
		],
		"want": {
			{"code": "activity_needs_purpose", "basis": "permit_condition", "params": {"purpose": "53(1)(d)", "sub": "", "value": "fine_tune"}, "path": "job.activity"},
			{"code": "activity_not_permitted", "basis": "permit_condition", "params": {"allowed": "train, evaluate", "value": "fine_tune"}, "path": "job.activity"},
		},
	},
	"training for its purpose but not granted": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/activity", "value": "fine_tune"}],
		"want": {{"code": "activity_not_permitted", "basis": "permit_condition", "params": {"allowed": "train, evaluate", "value": "fine_tune"}, "path": "job.activity"}},
	},
	"training for another purpose as the permit says": {
		"base": "admission",
		"patch": [
			{"op": "replace", "path": "/job/purpose", "value": {"code": "53(1)(d)", "sub": ""}},
			{"op": "replace", "path": "/permits/0/document/purposes", "value": [{"code": "53(1)(d)"}]},
		],
		"want": set(),
	},
	"missing activity": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/job/activity"}],
		"want": {{"code": "activity_not_permitted", "basis": "permit_condition", "params": {"allowed": "train, evaluate", "value": "missing"}, "path": "job.activity"}},
	},
	"missing activities": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/permits/0/document/permitted_activities"}],
		"want": {{"code": "activity_not_permitted", "basis": "permit_condition", "params": {"allowed": "missing", "value": "train"}, "path": "job.activity"}},
	},
}

test_purpose[name] if {
	some name, c in purpose_cases
	found := eu.deny | eu.review with input as json.patch(data.fixture[c.base], c.patch)
	found == c.want
}
