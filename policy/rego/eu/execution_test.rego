package eu_test

import data.eu

execution_cases := {
	"site not granted": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/permits/0/document/spe/sites", "value": ["lumi", "leonardo"]}],
		"want": {{"code": "site_not_in_permit", "basis": "permit_condition", "params": {"allowed": "lumi, leonardo", "value": "local"}, "path": "site.name"}},
	},
	"no sites granted": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/permits/0/document/spe/sites", "value": []}],
		"want": {{"code": "site_not_in_permit", "basis": "permit_condition", "params": {"allowed": "none", "value": "local"}, "path": "site.name"}},
	},
	"missing sites": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/permits/0/document/spe/sites"}],
		"want": {{"code": "site_not_in_permit", "basis": "permit_condition", "params": {"allowed": "missing", "value": "local"}, "path": "site.name"}},
	},
	"base not approved": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/image/base", "value": "sha256:9999999999999999999999999999999999999999999999999999999999999999"}],
		"want": {{"code": "base_not_approved", "basis": "permit_condition", "params": {"allowed": "none", "value": "sha256:9999999999999999999999999999999999999999999999999999999999999999"}, "path": "job.image.base"}},
	},
	"empty base": {
		"base": "admission",
		"patch": [
			{"op": "replace", "path": "/job/image/base", "value": ""},
			{"op": "replace", "path": "/permits/0/document/spe/software_components/0/digest", "value": ""},
		],
		"want": {{"code": "base_not_approved", "basis": "permit_condition", "params": {"allowed": "", "value": ""}, "path": "job.image.base"}},
	},
	"missing base": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/job/image/base"}],
		"want": {{"code": "base_not_approved", "basis": "permit_condition", "params": {"allowed": "none", "value": "missing"}, "path": "job.image.base"}},
	},
	"approved base": {
		"base": "based",
		"patch": [],
		"want": set(),
	},
	"dependencies not approved": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/image/layers/0/class", "value": "dependencies"}],
		"want": {{"code": "layer_not_approved", "basis": "permit_condition", "params": {"class": "dependencies", "value": "sha256:1111111111111111111111111111111111111111111111111111111111111111"}, "path": "job.image.layers[0].digest"}},
	},
	"missing class": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/job/image/layers/0/class"}],
		"want": {{"code": "layer_not_approved", "basis": "permit_condition", "params": {"class": "missing", "value": "sha256:1111111111111111111111111111111111111111111111111111111111111111"}, "path": "job.image.layers[0].digest"}},
	},
	"own code not granted": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/permits/0/document/execution/own_code", "value": "none"}],
		"want": {{"code": "own_code_not_permitted", "basis": "permit_condition", "params": {"permit": "none", "value": "source"}, "path": "job.image.layers[0].class"}},
	},
	"missing own code": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/permits/0/document/execution/own_code"}],
		"want": {{"code": "own_code_not_permitted", "basis": "permit_condition", "params": {"permit": "missing", "value": "source"}, "path": "job.image.layers[0].class"}},
	},
	"own code to be read": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/permits/0/document/execution/own_code", "value": "reviewed"}],
		"want": {{"code": "own_code_review", "basis": "permit_condition", "params": {"permit": "reviewed", "value": "source"}, "path": "job.image.layers[0].class"}},
	},
	"network asked for": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/network", "value": "job"}],
		"want": {{"code": "network_not_permitted", "basis": "permit_condition", "params": {"permit": "none", "value": "job"}, "path": "job.network"}},
	},
	"network granted": {
		"base": "admission",
		"patch": [
			{"op": "replace", "path": "/job/network", "value": "job"},
			{"op": "replace", "path": "/permits/0/document/execution/network", "value": "job"},
		],
		"want": set(),
	},
	"missing network": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/job/network"}],
		"want": {{"code": "network_not_permitted", "basis": "permit_condition", "params": {"permit": "none", "value": "missing"}, "path": "job.network"}},
	},
	"missing network grant": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/permits/0/document/execution/network"}],
		"want": {{"code": "network_not_permitted", "basis": "permit_condition", "params": {"permit": "missing", "value": "none"}, "path": "job.network"}},
	},
	"telemetry above the grant": {
		"base": "admission",
		"patch": [
			{"op": "replace", "path": "/job/telemetry", "value": "full"},
			{"op": "replace", "path": "/permits/0/document/execution/telemetry", "value": "sealed"},
		],
		"want": {{"code": "telemetry_over_permit", "basis": "permit_condition", "params": {"permit": "sealed", "value": "full"}, "path": "job.telemetry"}},
	},
	"missing telemetry": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/job/telemetry"}],
		"want": {{"code": "telemetry_over_permit", "basis": "permit_condition", "params": {"permit": "full", "value": "missing"}, "path": "job.telemetry"}},
	},
	"output type not granted": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/outputs/0/type", "value": "table"}],
		"want": {{"code": "output_type_not_permitted", "basis": "permit_condition", "params": {"allowed": "model, metrics", "value": "table"}, "path": "job.outputs[0].type"}},
	},
	"missing output type": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/job/outputs/0/type"}],
		"want": {{"code": "output_type_not_permitted", "basis": "permit_condition", "params": {"allowed": "model, metrics", "value": "missing"}, "path": "job.outputs[0].type"}},
	},
	"condition for a machine": {
		"base": "admission",
		"patch": [{"op": "add", "path": "/permits/0/document/conditions/0/rego", "value": "data.other.allow"}],
		"want": {{"code": "condition_unknown", "basis": "permit_condition", "params": {"condition": "c1", "value": "data.other.allow"}, "path": "permits[0].document.conditions[0].rego"}},
	},
	"no conditions": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/permits/0/document/conditions"}],
		"want": set(),
	},
	"no ceiling of GPUs": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/permits/0/document/spe/max_gpus", "value": 0}],
		"want": set(),
	},
	"layer said to be of the base": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/image/layers/0/class", "value": "base"}],
		"want": {{"code": "layer_not_approved", "basis": "permit_condition", "params": {"class": "base", "value": "sha256:1111111111111111111111111111111111111111111111111111111111111111"}, "path": "job.image.layers[0].digest"}},
	},
}

test_execution[name] if {
	some name, c in execution_cases
	found := eu.deny | eu.review with input as json.patch(data.fixture[c.base], c.patch)
	found == c.want
}
