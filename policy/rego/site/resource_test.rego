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
			{"code": "allocation_gpus_in_use", "basis": "contract", "params": {"allowed": "16", "needed": "4", "nodes": "missing", "value": "4"}, "path": "budget.open_gpus"},
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
	"frozen allocation": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/budget/frozen", "value": true}],
		"want": {{"code": "allocation_frozen", "basis": "contract", "params": {"allocation": "alc_1", "value": "true"}, "path": "budget.frozen"}},
	},
	"frozen since it was admitted": {
		"base": "clearance",
		"patch": [{"op": "replace", "path": "/budget/frozen", "value": true}],
		"want": set(),
	},
	"frozen is no word": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/budget/frozen", "value": "no"}],
		"want": {{"code": "allocation_frozen", "basis": "contract", "params": {"allocation": "alc_1", "value": "no"}, "path": "budget.frozen"}},
	},
	"missing frozen": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/budget/frozen"}],
		"want": {
			{"code": "allocation_frozen", "basis": "contract", "params": {"allocation": "alc_1", "value": "missing"}, "path": "budget.frozen"},
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "budget.frozen"},
		},
	},
	"the dearer type to the last second": {
		"base": "admission",
		"patch": [
			{"op": "replace", "path": "/budget/weight", "value": 1500},
			{"op": "replace", "path": "/budget/needed", "value": 43320},
			{"op": "replace", "path": "/budget/available", "value": 43320},
		],
		"want": set(),
	},
	"the dearer type a second short": {
		"base": "admission",
		"patch": [
			{"op": "replace", "path": "/budget/weight", "value": 1500},
			{"op": "replace", "path": "/budget/needed", "value": 43320},
			{"op": "replace", "path": "/budget/available", "value": 43319},
		],
		"want": {{"code": "budget_exceeded", "basis": "contract", "params": {"available": "43319", "granted": "720000", "value": "43320"}, "path": "budget.needed"}},
	},
	"weight left out of the need": {
		"base": "admission",
		"patch": [
			{"op": "replace", "path": "/budget/weight", "value": 1500},
			{"op": "replace", "path": "/budget/available", "value": 43319},
		],
		"want": {{"code": "budget_exceeded", "basis": "contract", "params": {"available": "43319", "granted": "720000", "value": "28880"}, "path": "budget.needed"}},
	},
	"the cheaper type": {
		"base": "admission",
		"patch": [
			{"op": "replace", "path": "/budget/weight", "value": 250},
			{"op": "replace", "path": "/budget/needed", "value": 7220},
			{"op": "replace", "path": "/budget/available", "value": 7220},
		],
		"want": set(),
	},
	"no weight": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/budget/weight", "value": 0}],
		"want": {{"code": "weight_malformed", "basis": "contract", "params": {"value": "0"}, "path": "budget.weight"}},
	},
	"missing weight": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/budget/weight"}],
		"want": {
			{"code": "budget_exceeded", "basis": "contract", "params": {"available": "360000", "granted": "720000", "value": "28880"}, "path": "budget.needed"},
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "budget.weight"},
			{"code": "weight_malformed", "basis": "contract", "params": {"value": "missing"}, "path": "budget.weight"},
		},
	},
	"the last GPUs of the allocation": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/budget/open_gpus", "value": 8}],
		"want": set(),
	},
	"one GPU more than there is": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/budget/open_gpus", "value": 9}],
		"want": {{"code": "allocation_gpus_in_use", "basis": "contract", "params": {"allowed": "16", "needed": "4", "nodes": "2", "value": "9"}, "path": "budget.open_gpus"}},
	},
	"no limit of GPUs": {
		"base": "admission",
		"patch": [
			{"op": "replace", "path": "/budget/open_gpus", "value": 9000},
			{"op": "replace", "path": "/budget/max_gpus", "value": 0},
		],
		"want": set(),
	},
	"GPUs limited since it was admitted": {
		"base": "clearance",
		"patch": [{"op": "replace", "path": "/budget/max_gpus", "value": 1}],
		"want": set(),
	},
	"a job without GPUs in a full allocation": {
		"base": "admission",
		"patch": [
			{"op": "replace", "path": "/budget/open_gpus", "value": 99},
			{"op": "replace", "path": "/job/resources/gpus_per_node", "value": 0},
			{"op": "replace", "path": "/budget/needed", "value": 0},
			{"op": "replace", "path": "/budget/gpu_seconds", "value": 0},
		],
		"want": set(),
	},
	"missing limit of GPUs": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/budget/max_gpus"}],
		"want": {
			{"code": "allocation_gpus_in_use", "basis": "contract", "params": {"allowed": "missing", "needed": "4", "nodes": "2", "value": "4"}, "path": "budget.open_gpus"},
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "budget.max_gpus"},
		},
	},
	"missing open GPUs": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/budget/open_gpus"}],
		"want": {
			{"code": "allocation_gpus_in_use", "basis": "contract", "params": {"allowed": "16", "needed": "4", "nodes": "2", "value": "missing"}, "path": "budget.open_gpus"},
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "budget.open_gpus"},
		},
	},
	"the last job of the allocation": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/budget/open_jobs", "value": 9}],
		"want": set(),
	},
	"one job more than it takes": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/budget/open_jobs", "value": 10}],
		"want": {{"code": "allocation_jobs_in_use", "basis": "contract", "params": {"allowed": "10", "value": "10"}, "path": "budget.open_jobs"}},
	},
	"no limit of jobs": {
		"base": "admission",
		"patch": [
			{"op": "replace", "path": "/budget/open_jobs", "value": 9000},
			{"op": "replace", "path": "/budget/max_jobs", "value": 0},
		],
		"want": set(),
	},
	"missing limit of jobs": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/budget/max_jobs"}],
		"want": {
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "budget.max_jobs"},
			{"code": "allocation_jobs_in_use", "basis": "contract", "params": {"allowed": "missing", "value": "2"}, "path": "budget.open_jobs"},
		},
	},
	"missing open jobs": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/budget/open_jobs"}],
		"want": {
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "budget.open_jobs"},
			{"code": "allocation_jobs_in_use", "basis": "contract", "params": {"allowed": "10", "value": "missing"}, "path": "budget.open_jobs"},
		},
	},
	"a job as long as the allocation gives": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/budget/max_wall_seconds", "value": 3550}],
		"want": set(),
	},
	"a job longer than the allocation gives": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/budget/max_wall_seconds", "value": 3549}],
		"want": {{"code": "walltime_over_allocation", "basis": "contract", "params": {"allowed": "3549", "value": "3550"}, "path": "job.resources.walltime_seconds"}},
	},
	"no limit of time": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/budget/max_wall_seconds", "value": 0}],
		"want": set(),
	},
	"missing limit of time": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/budget/max_wall_seconds"}],
		"want": {
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "budget.max_wall_seconds"},
			{"code": "walltime_over_allocation", "basis": "contract", "params": {"allowed": "missing", "value": "3550"}, "path": "job.resources.walltime_seconds"},
		},
	},
	"missing GPU-seconds": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/budget/gpu_seconds"}],
		"want": {
			{"code": "budget_exceeded", "basis": "contract", "params": {"available": "360000", "granted": "720000", "value": "28880"}, "path": "budget.needed"},
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "budget.gpu_seconds"},
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
