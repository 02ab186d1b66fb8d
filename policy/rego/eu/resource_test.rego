package eu_test

import data.eu

resource_cases := {
	"missing kill margin": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/site/kill_margin_seconds"}],
		"want": {
			{"code": "gpu_hours_over_permit", "basis": "permit_condition", "params": {"allowed": "100", "used": "3600", "value": "28880"}, "path": "budget.gpu_seconds"},
			{"code": "permit_ends_too_soon", "basis": "permit_condition", "params": {"allowed": "2028-05-04T00:00:00Z", "margin": "missing", "value": "3550"}, "path": "job.resources.walltime_seconds"},
		},
	},
	"more GPUs than granted": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/permits/0/document/spe/max_gpus", "value": 7}],
		"want": {{"code": "gpus_over_permit", "basis": "permit_condition", "params": {"allowed": "7", "nodes": "2", "value": "4"}, "path": "job.resources.gpus_per_node"}},
	},
	"missing ceiling of GPUs": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/permits/0/document/spe/max_gpus"}],
		"want": {{"code": "gpus_over_permit", "basis": "permit_condition", "params": {"allowed": "missing", "nodes": "2", "value": "4"}, "path": "job.resources.gpus_per_node"}},
	},
	"no ceiling of GPU-hours": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/permits/0/document/spe/gpu_hours", "value": 0}],
		"want": set(),
	},
	"GPU-hours to the last": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/permits/0/gpu_seconds_used", "value": 331120}],
		"want": set(),
	},
	"more GPU-hours than granted": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/permits/0/gpu_seconds_used", "value": 331121}],
		"want": {{"code": "gpu_hours_over_permit", "basis": "permit_condition", "params": {"allowed": "100", "used": "331121", "value": "28880"}, "path": "budget.gpu_seconds"}},
	},
	"missing use": {
		"base": "admission",
		"patch": [
			{"op": "remove", "path": "/permits/0/gpu_seconds_used"},
			{"op": "replace", "path": "/permits/0/document/spe/gpu_hours", "value": 0},
		],
		"want": {{"code": "gpu_hours_over_permit", "basis": "permit_condition", "params": {"allowed": "0", "used": "missing", "value": "28880"}, "path": "budget.gpu_seconds"}},
	},
	"missing nodes": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/job/resources/nodes"}],
		"want": {
			{"code": "gpu_hours_over_permit", "basis": "permit_condition", "params": {"allowed": "100", "used": "3600", "value": "28880"}, "path": "budget.gpu_seconds"},
			{"code": "gpus_over_permit", "basis": "permit_condition", "params": {"allowed": "8", "nodes": "missing", "value": "4"}, "path": "job.resources.gpus_per_node"},
		},
	},
	"segments within the grant": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/resume/max_segments", "value": 12}],
		"want": set(),
	},
	"segments beyond the grant": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/resume/max_segments", "value": 13}],
		"want": {{"code": "segments_over_permit", "basis": "permit_condition", "params": {"allowed": "100", "each": "28880", "value": "13"}, "path": "job.resume.max_segments"}},
	},
	"segments without a ceiling": {
		"base": "admission",
		"patch": [
			{"op": "replace", "path": "/job/resume/max_segments", "value": 100},
			{"op": "replace", "path": "/permits/0/document/spe/gpu_hours", "value": 0},
		],
		"want": set(),
	},
	"missing number of segments": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/job/resume/max_segments"}],
		"want": {{"code": "segments_over_permit", "basis": "permit_condition", "params": {"allowed": "100", "each": "28880", "value": "missing"}, "path": "job.resume.max_segments"}},
	},
	"missing need": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/budget/gpu_seconds"}],
		"want": {{"code": "gpu_hours_over_permit", "basis": "permit_condition", "params": {"allowed": "100", "used": "3600", "value": "missing"}, "path": "budget.gpu_seconds"}},
	},
}

test_resource[name] if {
	some name, c in resource_cases
	found := eu.deny | eu.review with input as json.patch(data.fixture[c.base], c.patch)
	found == c.want
}
