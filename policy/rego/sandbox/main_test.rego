package sandbox_test

import data.sandbox

main_cases := {
	"real by the permit, synthetic by the site": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/permits/0/document/datasets/0/access_format", "value": "ANONYMISED"}],
		"want": {{"code": "sandbox_format_not_synthetic", "basis": "contract", "params": {"value": "https://data.example/dataset/screening"}, "path": "job.datasets[0].puri"}},
	},
	"synthetic by the permit, real by the site": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/site/datasets/0/synthetic", "value": false}],
		"want": {{"code": "sandbox_dataset_not_synthetic", "basis": "contract", "params": {"site": "local", "value": "https://data.example/dataset/screening"}, "path": "job.datasets[0].puri"}},
	},
	"missing synthetic": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/site/datasets/0/synthetic"}],
		"want": {{"code": "sandbox_dataset_not_synthetic", "basis": "contract", "params": {"site": "local", "value": "https://data.example/dataset/screening"}, "path": "job.datasets[0].puri"}},
	},
	"missing access format": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/permits/0/document/datasets/0/access_format"}],
		"want": {{"code": "sandbox_format_not_synthetic", "basis": "contract", "params": {"value": "https://data.example/dataset/screening"}, "path": "job.datasets[0].puri"}},
	},
	"real data under a sandbox permit": {
		"base": "admission",
		"patch": [
			{"op": "replace", "path": "/site/datasets/0/synthetic", "value": false},
			{"op": "replace", "path": "/permits/0/document/datasets/0/access_format", "value": "PSEUDONYMISED"},
		],
		"want": {
			{"code": "sandbox_dataset_not_synthetic", "basis": "contract", "params": {"site": "local", "value": "https://data.example/dataset/screening"}, "path": "job.datasets[0].puri"},
			{"code": "sandbox_format_not_synthetic", "basis": "contract", "params": {"value": "https://data.example/dataset/screening"}, "path": "job.datasets[0].puri"},
		},
	},
	"nothing shuts the workload in": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/site/isolation", "value": "none"}],
		"want": set(),
	},
}

test_main[name] if {
	some name, c in main_cases
	found := sandbox.deny with input as json.patch(data.fixture[c.base], c.patch)
	found == c.want
}

test_obligations_of_the_sandbox if {
	first := sandbox.decision with input as data.fixture.admission
	first.obligations == {"outputs_marked_sandbox"}
	second := sandbox.decision with input as json.patch(data.fixture.admission, [{"op": "replace", "path": "/site/isolation", "value": "none"}])
	second.obligations == {"isolation_none", "outputs_marked_sandbox"}
}

test_the_sandbox_has_no_say_of_real_data if {
	sandbox.decision == {"verdict": "allow", "reasons": set(), "obligations": set()} with input as data.fixture.real
}
