package eu_test

import data.eu

dataset_cases := {
	"dataset not granted, not there": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/datasets/0/puri", "value": "https://data.example/dataset/screening-2"}],
		"want": {
			{"code": "dataset_not_at_site", "basis": "contract", "params": {"site": "local", "value": "https://data.example/dataset/screening-2", "version": "1"}, "path": "job.datasets[0].puri"},
			{"code": "dataset_not_permitted", "basis": "permit_condition", "params": {"allowed": "https://data.example/dataset/screening", "value": "https://data.example/dataset/screening-2", "version": "1"}, "path": "job.datasets[0].puri"},
		},
	},
	"missing dataset id": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/job/datasets/0/puri"}],
		"want": {
			{"code": "dataset_not_at_site", "basis": "contract", "params": {"site": "local", "value": "missing", "version": "1"}, "path": "job.datasets[0].puri"},
			{"code": "dataset_not_permitted", "basis": "permit_condition", "params": {"allowed": "https://data.example/dataset/screening", "value": "missing", "version": "1"}, "path": "job.datasets[0].puri"},
		},
	},
	"version not granted": {
		"base": "admission",
		"patch": [
			{"op": "replace", "path": "/job/datasets/0/version", "value": "2"},
			{"op": "replace", "path": "/site/datasets/0/version", "value": "2"},
		],
		"want": {{"code": "dataset_not_permitted", "basis": "permit_condition", "params": {"allowed": "https://data.example/dataset/screening", "value": "https://data.example/dataset/screening", "version": "2"}, "path": "job.datasets[0].puri"}},
	},
	"version left to the site and not granted": {
		"base": "admission",
		"patch": [
			{"op": "replace", "path": "/job/datasets/0/version", "value": ""},
			{"op": "replace", "path": "/site/datasets/0/version", "value": "2"},
		],
		"want": {{"code": "dataset_not_permitted", "basis": "permit_condition", "params": {"allowed": "https://data.example/dataset/screening", "value": "https://data.example/dataset/screening", "version": ""}, "path": "job.datasets[0].puri"}},
	},
	"version left to the site": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/datasets/0/version", "value": ""}],
		"want": set(),
	},
	"every version granted": {
		"base": "admission",
		"patch": [
			{"op": "remove", "path": "/permits/0/document/datasets/0/version"},
			{"op": "replace", "path": "/job/datasets/0/version", "value": "7"},
			{"op": "replace", "path": "/site/datasets/0/version", "value": "7"},
		],
		"want": set(),
	},
	"version not at the site": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/site/datasets/0/version", "value": "2"}],
		"want": {{"code": "dataset_not_at_site", "basis": "contract", "params": {"site": "local", "value": "https://data.example/dataset/screening", "version": "1"}, "path": "job.datasets[0].puri"}},
	},
	"two versions at the site and none named": {
		"base": "admission",
		"patch": [
			{"op": "replace", "path": "/job/datasets/0/version", "value": ""},
			{"op": "add", "path": "/site/datasets/1", "value": {"puri": "https://data.example/dataset/screening", "version": "2", "digest": "sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd", "format": "text/csv", "holder": "holder-sandbox", "country": "IT", "categories": ["a", "p"], "synthetic": true}},
		],
		"want": {{"code": "dataset_ambiguous", "basis": "contract", "params": {"site": "local", "value": ""}, "path": "job.datasets[0].version"}},
	},
	"no digest of the dataset": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/site/datasets/0/digest", "value": ""}],
		"want": {{"code": "dataset_unsealed", "basis": "contract", "params": {"site": "local", "value": "https://data.example/dataset/screening"}, "path": "job.datasets[0].puri"}},
	},
	"missing digest of the dataset": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/site/datasets/0/digest"}],
		"want": {{"code": "dataset_unsealed", "basis": "contract", "params": {"site": "local", "value": "https://data.example/dataset/screening"}, "path": "job.datasets[0].puri"}},
	},
	"another categories": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/site/datasets/0/categories", "value": ["a"]}],
		"want": {{"code": "dataset_disagrees", "basis": "contract", "params": {"field": "categories", "site": "local", "value": "https://data.example/dataset/screening"}, "path": "job.datasets[0].puri"}},
	},
	"missing categories": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/site/datasets/0/categories"}],
		"want": {{"code": "dataset_disagrees", "basis": "contract", "params": {"field": "categories", "site": "local", "value": "https://data.example/dataset/screening"}, "path": "job.datasets[0].puri"}},
	},
	"another country": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/site/datasets/0/country", "value": "DE"}],
		"want": {{"code": "dataset_disagrees", "basis": "contract", "params": {"field": "country", "site": "local", "value": "https://data.example/dataset/screening"}, "path": "job.datasets[0].puri"}},
	},
	"missing country": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/site/datasets/0/country"}],
		"want": {{"code": "dataset_disagrees", "basis": "contract", "params": {"field": "country", "site": "local", "value": "https://data.example/dataset/screening"}, "path": "job.datasets[0].puri"}},
	},
	"another format": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/site/datasets/0/format", "value": "image/png"}],
		"want": {{"code": "dataset_disagrees", "basis": "contract", "params": {"field": "format", "site": "local", "value": "https://data.example/dataset/screening"}, "path": "job.datasets[0].puri"}},
	},
	"missing format": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/site/datasets/0/format"}],
		"want": {{"code": "dataset_disagrees", "basis": "contract", "params": {"field": "format", "site": "local", "value": "https://data.example/dataset/screening"}, "path": "job.datasets[0].puri"}},
	},
	"another holder": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/site/datasets/0/holder", "value": "another"}],
		"want": {{"code": "dataset_disagrees", "basis": "contract", "params": {"field": "holder", "site": "local", "value": "https://data.example/dataset/screening"}, "path": "job.datasets[0].puri"}},
	},
	"missing holder": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/site/datasets/0/holder"}],
		"want": {{"code": "dataset_disagrees", "basis": "contract", "params": {"field": "holder", "site": "local", "value": "https://data.example/dataset/screening"}, "path": "job.datasets[0].puri"}},
	},
	"no categories": {
		"base": "admission",
		"patch": [
			{"op": "replace", "path": "/site/datasets/0/categories", "value": []},
			{"op": "replace", "path": "/permits/0/document/datasets/0/categories", "value": []},
		],
		"want": {{"code": "dataset_disagrees", "basis": "contract", "params": {"field": "categories", "site": "local", "value": "https://data.example/dataset/screening"}, "path": "job.datasets[0].puri"}},
	},
	"real by the permit, synthetic by the site": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/permits/0/document/datasets/0/access_format", "value": "ANONYMISED"}],
		"want": {{"code": "dataset_disagrees", "basis": "contract", "params": {"field": "synthetic", "site": "local", "value": "https://data.example/dataset/screening"}, "path": "job.datasets[0].puri"}},
	},
	"synthetic by the permit, real by the site": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/site/datasets/0/synthetic", "value": false}],
		"want": {{"code": "dataset_disagrees", "basis": "contract", "params": {"field": "synthetic", "site": "local", "value": "https://data.example/dataset/screening"}, "path": "job.datasets[0].puri"}},
	},
	"missing synthetic": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/site/datasets/0/synthetic"}],
		"want": {{"code": "dataset_disagrees", "basis": "contract", "params": {"field": "synthetic", "site": "local", "value": "https://data.example/dataset/screening"}, "path": "job.datasets[0].puri"}},
	},
	"missing access format": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/permits/0/document/datasets/0/access_format"}],
		"want": {{"code": "dataset_disagrees", "basis": "contract", "params": {"field": "synthetic", "site": "local", "value": "https://data.example/dataset/screening"}, "path": "job.datasets[0].puri"}},
	},
}

test_dataset[name] if {
	some name, c in dataset_cases
	found := eu.deny | eu.review with input as json.patch(data.fixture[c.base], c.patch)
	found == c.want
}
