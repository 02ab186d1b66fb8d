package site_test

import data.site

resource_cases := {
	"missing kill margin": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/site/kill_margin_seconds"}],
		"want": {
			{"code": "budget_exceeded", "basis": "contract", "params": {"available": "360000", "granted": "720000", "value": "28880"}, "path": "budget.needed"},
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "site.kill_margin_seconds"},
		},
	},
	"missing now": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/now"}],
		"want": {
			{"code": "allocation_not_valid", "basis": "contract", "params": {"from": "2027-01-01T00:00:00.000000Z", "now": "missing", "value": "2028-01-01T00:00:00.000000Z"}, "path": "budget.valid_until"},
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "now"},
			{"code": "now_malformed", "basis": "contract", "params": {"value": "missing"}, "path": "now"},
		},
	},
	"now is no time": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/now", "value": "yesterday"}],
		"want": {
			{"code": "allocation_not_valid", "basis": "contract", "params": {"from": "2027-01-01T00:00:00.000000Z", "now": "yesterday", "value": "2028-01-01T00:00:00.000000Z"}, "path": "budget.valid_until"},
			{"code": "now_malformed", "basis": "contract", "params": {"value": "yesterday"}, "path": "now"},
		},
	},
	"missing nodes": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/job/resources/nodes"}],
		"want": {
			{"code": "budget_exceeded", "basis": "contract", "params": {"available": "360000", "granted": "720000", "value": "28880"}, "path": "budget.needed"},
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "job.resources.nodes"},
			{"code": "nodes_over_site", "basis": "contract", "params": {"allowed": "4", "value": "missing"}, "path": "job.resources.nodes"},
			{"code": "resources_malformed", "basis": "contract", "params": {"value": "missing"}, "path": "job.resources.nodes"},
		},
	},
	"no nodes": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/resources/nodes", "value": 0}],
		"want": {{"code": "resources_malformed", "basis": "contract", "params": {"value": "0"}, "path": "job.resources.nodes"}},
	},
	"negative GPUs": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/resources/gpus_per_node", "value": -1}],
		"want": {{"code": "resources_malformed", "basis": "contract", "params": {"value": "-1"}, "path": "job.resources.gpus_per_node"}},
	},
	"more nodes than there are": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/site/max_nodes", "value": 1}],
		"want": {{"code": "nodes_over_site", "basis": "contract", "params": {"allowed": "1", "value": "2"}, "path": "job.resources.nodes"}},
	},
	"missing site nodes": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/site/max_nodes"}],
		"want": {
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "site.max_nodes"},
			{"code": "nodes_over_site", "basis": "contract", "params": {"allowed": "missing", "value": "2"}, "path": "job.resources.nodes"},
		},
	},
	"more CPUs than there are": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/resources/cpus_per_node", "value": 65}],
		"want": {{"code": "cpus_over_site", "basis": "contract", "params": {"allowed": "64", "value": "65"}, "path": "job.resources.cpus_per_node"}},
	},
	"missing CPUs": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/job/resources/cpus_per_node"}],
		"want": {
			{"code": "cpus_over_site", "basis": "contract", "params": {"allowed": "64", "value": "missing"}, "path": "job.resources.cpus_per_node"},
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "job.resources.cpus_per_node"},
			{"code": "resources_malformed", "basis": "contract", "params": {"value": "missing"}, "path": "job.resources.cpus_per_node"},
		},
	},
	"more memory than there is": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/site/memory_mib", "value": 65535}],
		"want": {{"code": "memory_over_site", "basis": "contract", "params": {"allowed": "65535", "value": "65536"}, "path": "job.resources.memory_mib"}},
	},
	"missing memory": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/job/resources/memory_mib"}],
		"want": {
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "job.resources.memory_mib"},
			{"code": "memory_over_site", "basis": "contract", "params": {"allowed": "262144", "value": "missing"}, "path": "job.resources.memory_mib"},
			{"code": "resources_malformed", "basis": "contract", "params": {"value": "missing"}, "path": "job.resources.memory_mib"},
		},
	},
	"longer than the site lets": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/site/max_wall_seconds", "value": 3549}],
		"want": {{"code": "walltime_over_site", "basis": "contract", "params": {"allowed": "3549", "value": "3550"}, "path": "job.resources.walltime_seconds"}},
	},
	"missing site walltime": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/site/max_wall_seconds"}],
		"want": {
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "site.max_wall_seconds"},
			{"code": "walltime_over_site", "basis": "contract", "params": {"allowed": "missing", "value": "3550"}, "path": "job.resources.walltime_seconds"},
		},
	},
	"another GPU type": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/resources/gpu_type", "value": "a100"}],
		"want": {{"code": "gpu_type_unknown", "basis": "contract", "params": {"allowed": "h100", "value": "a100"}, "path": "job.resources.gpu_type"}},
	},
	"any GPU type": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/resources/gpu_type", "value": ""}],
		"want": set(),
	},
	"missing GPU type": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/job/resources/gpu_type"}],
		"want": {
			{"code": "gpu_type_unknown", "basis": "contract", "params": {"allowed": "h100", "value": "missing"}, "path": "job.resources.gpu_type"},
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "job.resources.gpu_type"},
		},
	},
	"more GPUs than a node has": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/site/gpus/0/per_node", "value": 3}],
		"want": {{"code": "gpus_over_site", "basis": "contract", "params": {"site": "local", "type": "h100", "value": "4"}, "path": "job.resources.gpus_per_node"}},
	},
	"no GPUs at all": {
		"base": "admission",
		"patch": [
			{"op": "replace", "path": "/site/gpus", "value": []},
			{"op": "replace", "path": "/job/resources/gpu_type", "value": ""},
			{"op": "replace", "path": "/job/resources/gpus_per_node", "value": 0},
			{"op": "replace", "path": "/budget/needed", "value": 0},
		],
		"want": set(),
	},
	"missing GPUs per node": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/site/gpus/0/per_node"}],
		"want": {
			{"code": "gpus_over_site", "basis": "contract", "params": {"site": "local", "type": "h100", "value": "4"}, "path": "job.resources.gpus_per_node"},
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "site.gpus[0].per_node"},
		},
	},
	"no allocation": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/budget/allocation", "value": ""}],
		"want": {{"code": "allocation_missing", "basis": "contract", "params": {"site": "local", "value": ""}, "path": "budget.allocation"}},
	},
	"missing allocation": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/budget/allocation"}],
		"want": {
			{"code": "allocation_missing", "basis": "contract", "params": {"site": "local", "value": "missing"}, "path": "budget.allocation"},
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "budget.allocation"},
		},
	},
	"allocation over": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/budget/valid_until", "value": "2027-05-04T10:00:00Z"}],
		"want": {{"code": "allocation_not_valid", "basis": "contract", "params": {"from": "2027-01-01T00:00:00.000000Z", "now": "2027-05-04T10:00:00.000000Z", "value": "2027-05-04T10:00:00Z"}, "path": "budget.valid_until"}},
	},
	"missing allocation start": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/budget/valid_from"}],
		"want": {
			{"code": "allocation_not_valid", "basis": "contract", "params": {"from": "missing", "now": "2027-05-04T10:00:00.000000Z", "value": "2028-01-01T00:00:00.000000Z"}, "path": "budget.valid_until"},
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "budget.valid_from"},
		},
	},
	"allocation to the last second": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/budget/available", "value": 28880}],
		"want": set(),
	},
	"allocation a second short": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/budget/available", "value": 28879}],
		"want": {{"code": "budget_exceeded", "basis": "contract", "params": {"available": "28879", "granted": "720000", "value": "28880"}, "path": "budget.needed"}},
	},
	"need understated": {
		"base": "admission",
		"patch": [
			{"op": "replace", "path": "/budget/needed", "value": 1},
			{"op": "replace", "path": "/budget/available", "value": 28879},
		],
		"want": {{"code": "budget_exceeded", "basis": "contract", "params": {"available": "28879", "granted": "720000", "value": "1"}, "path": "budget.needed"}},
	},
	"missing need": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/budget/needed"}],
		"want": {
			{"code": "budget_exceeded", "basis": "contract", "params": {"available": "360000", "granted": "720000", "value": "missing"}, "path": "budget.needed"},
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "budget.needed"},
		},
	},
	"missing available": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/budget/available"}],
		"want": {
			{"code": "budget_exceeded", "basis": "contract", "params": {"available": "missing", "granted": "720000", "value": "28880"}, "path": "budget.needed"},
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "budget.available"},
		},
	},
}

test_resource[name] if {
	some name, c in resource_cases
	found := site.deny with input as json.patch(data.fixture[c.base], c.patch)
	found == c.want
}
