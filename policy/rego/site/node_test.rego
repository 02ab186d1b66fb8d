package site_test

import data.site

job_network := {"op": "replace", "path": "/job/network", "value": "job"}

node_cases := {
	"several nodes at Slurm": {
		"base": "admission",
		"patch": [job_network],
		"want": set(),
	},
	"several nodes elsewhere": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/site/scheduler", "value": "nomad"}],
		"want": {{"code": "nodes_not_supported", "basis": "contract", "params": {"site": "local", "scheduler": "nomad", "value": "2"}, "path": "job.resources.nodes"}},
	},
	"one node elsewhere": {
		"base": "admission",
		"patch": [
			{"op": "replace", "path": "/site/scheduler", "value": "local"},
			{"op": "replace", "path": "/job/resources/nodes", "value": 1},
		],
		"want": set(),
	},
	"missing scheduler": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/site/scheduler"}],
		"want": {
			incomplete("site.scheduler"),
			{"code": "nodes_not_supported", "basis": "contract", "params": {"site": "local", "scheduler": "missing", "value": "2"}, "path": "job.resources.nodes"},
		},
	},
	"a network of one node": {
		"base": "admission",
		"patch": [job_network, {"op": "replace", "path": "/job/resources/nodes", "value": 1}],
		"want": {{"code": "network_needs_nodes", "basis": "contract", "params": {"nodes": "1", "value": "job"}, "path": "job.network"}},
	},
	"missing network": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/job/network"}],
		"want": {
			incomplete("job.network"),
			{"code": "network_needs_nodes", "basis": "contract", "params": {"nodes": "2", "value": "missing"}, "path": "job.network"},
		},
	},
	"real data over a network that others are on": {
		"base": "real",
		"patch": [job_network],
		"want": {{"code": "network_not_isolated", "basis": "contract", "params": {"regime": "EHDS_PERMIT", "site": "local", "value": "false"}, "path": "site.fabric_isolated"}},
	},
	"real data over a network of the job's own": {
		"base": "real",
		"patch": [job_network, {"op": "replace", "path": "/site/fabric_isolated", "value": true}],
		"want": set(),
	},
	"missing isolation of the network": {
		"base": "real",
		"patch": [job_network, {"op": "remove", "path": "/site/fabric_isolated"}],
		"want": {
			incomplete("site.fabric_isolated"),
			{"code": "network_not_isolated", "basis": "contract", "params": {"regime": "EHDS_PERMIT", "site": "local", "value": "missing"}, "path": "site.fabric_isolated"},
		},
	},
	"synthetic data and missing isolation of the network": {
		"base": "admission",
		"patch": [job_network, {"op": "remove", "path": "/site/fabric_isolated"}],
		"want": {
			incomplete("site.fabric_isolated"),
			{"code": "network_not_isolated", "basis": "contract", "params": {"regime": "SANDBOX", "site": "local", "value": "missing"}, "path": "site.fabric_isolated"},
		},
	},
}

test_node[name] if {
	some name, c in node_cases
	found := site.deny with input as json.patch(data.fixture[c.base], c.patch)
	found == c.want
}
