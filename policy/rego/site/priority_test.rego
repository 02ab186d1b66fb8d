package site_test

import data.site

all_classes := "background, expedited, standard, urgent_public_health"

priority_cases := {
	"no such class": {
		"patch": [{"op": "replace", "path": "/job/priority", "value": "first"}],
		"want": {{"code": "priority_unknown", "basis": "contract", "params": {"allowed": all_classes, "value": "first"}, "path": "job.priority"}},
	},
	"missing priority": {
		"patch": [{"op": "remove", "path": "/job/priority"}],
		"want": {
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "job.priority"},
			{"code": "priority_unknown", "basis": "contract", "params": {"allowed": all_classes, "value": "missing"}, "path": "job.priority"},
		},
	},
	"the default": {
		"patch": [{"op": "replace", "path": "/job/priority", "value": ""}],
		"want": set(),
	},
	"a class for everybody": {
		"patch": [{"op": "replace", "path": "/job/priority", "value": "background"}],
		"want": set(),
	},
	"a class for another purpose": {
		"patch": [{"op": "replace", "path": "/job/priority", "value": "urgent_public_health"}],
		"want": {not_permitted("urgent_public_health", {"purposes": "53(1)(a)", "access_modes": "any", "purpose": "53(1)(e)", "access_mode": "playground", "allowed": "background, standard"})},
	},
	"a class for the job's purpose": {
		"patch": [
			{"op": "replace", "path": "/job/priority", "value": "urgent_public_health"},
			{"op": "replace", "path": "/job/purpose/code", "value": "53(1)(a)"},
		],
		"want": set(),
	},
	"missing purpose": {
		"patch": [
			{"op": "replace", "path": "/job/priority", "value": "urgent_public_health"},
			{"op": "remove", "path": "/job/purpose/code"},
		],
		"want": {
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "job.purpose.code"},
			not_permitted("urgent_public_health", {"purposes": "53(1)(a)", "access_modes": "any", "purpose": "missing", "access_mode": "playground", "allowed": "background, standard"}),
		},
	},
	"a class for another access mode": {
		"patch": [{"op": "replace", "path": "/job/priority", "value": "expedited"}],
		"want": {not_permitted("expedited", {"purposes": "any", "access_modes": "fast_lane", "purpose": "53(1)(e)", "access_mode": "playground", "allowed": "background, standard"})},
	},
	"a class for the allocation's access mode": {
		"patch": [
			{"op": "replace", "path": "/job/priority", "value": "expedited"},
			{"op": "replace", "path": "/budget/access_mode", "value": "fast_lane"},
		],
		"want": set(),
	},
	"missing access mode": {
		"patch": [
			{"op": "replace", "path": "/job/priority", "value": "expedited"},
			{"op": "remove", "path": "/budget/access_mode"},
		],
		"want": {
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "budget.access_mode"},
			not_permitted("expedited", {"purposes": "any", "access_modes": "fast_lane", "purpose": "53(1)(e)", "access_mode": "missing", "allowed": "background, standard"}),
		},
	},
}

not_permitted(class, params) := {
	"code": "priority_not_permitted",
	"basis": "contract",
	"params": object.union(params, {"value": class}),
	"path": "job.priority",
}

test_priority[name] if {
	some name, c in priority_cases
	found := site.deny with input as json.patch(data.fixture.admission, c.patch)
	found == c.want
}

test_a_job_is_obliged_to_its_class if {
	site.obligations == {"priority:standard:4"} with input as json.patch(data.fixture.admission, [{"op": "replace", "path": "/job/priority", "value": ""}])
	site.obligations == {"priority:background:1"} with input as json.patch(data.fixture.admission, [{"op": "replace", "path": "/job/priority", "value": "background"}])
	site.obligations == set() with input as json.patch(data.fixture.admission, [{"op": "replace", "path": "/job/priority", "value": "expedited"}])
}

# Whoever changes the data changes who comes first, without a word of Rego.
test_the_classes_are_data if {
	site.obligations == {"priority:only:7"} with input as json.patch(data.fixture.admission, [{"op": "replace", "path": "/job/priority", "value": ""}])
		with data.site.priority as {"default": "only", "classes": {"only": {"weight": 7, "purposes": ["53(1)(e)"], "access_modes": "any", "basis": "contract"}}}
}
