package site_test

import data.site

form_cases := {
	"another schema": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/schema", "value": "valico-policy-input/v2"}],
		"want": {{"code": "input_schema", "basis": "contract", "params": {"value": "valico-policy-input/v2"}, "path": "schema"}},
	},
	"missing schema": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/schema"}],
		"want": {
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "schema"},
			{"code": "input_schema", "basis": "contract", "params": {"value": "missing"}, "path": "schema"},
		},
	},
	"another moment": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/moment", "value": "later"}],
		"want": {{"code": "moment_unknown", "basis": "contract", "params": {"value": "later"}, "path": "moment"}},
	},
	"missing moment": {
		"base": "clearance",
		"patch": [{"op": "remove", "path": "/moment"}],
		"want": {
			{"code": "image_early", "basis": "contract", "params": {"value": "an object"}, "path": "image"},
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "moment"},
			{"code": "moment_unknown", "basis": "contract", "params": {"value": "missing"}, "path": "moment"},
		},
	},
	"an image at admission": {
		"base": "clearance",
		"patch": [{"op": "replace", "path": "/moment", "value": "admission"}],
		"want": {{"code": "image_early", "basis": "contract", "params": {"value": "an object"}, "path": "image"}},
	},
	"the image as assembled": {
		"base": "clearance",
		"patch": [],
		"want": set(),
	},
}

test_form[name] if {
	some name, c in form_cases
	found := site.deny with input as json.patch(data.fixture[c.base], c.patch)
	found == c.want
}
