package site_test

import data.site

contract_cases := {
	"missing assurance": {
		"base": "real",
		"patch": [{"op": "remove", "path": "/site/assurance"}],
		"want": {
			{"code": "assurance_unknown", "basis": "contract", "params": {"value": "missing"}, "path": "site.assurance"},
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "site.assurance"},
			{"code": "real_data_needs.enforced_site", "basis": "contract", "params": {"regime": "EHDS_PERMIT", "value": "missing"}, "path": "site.assurance"},
		},
	},
	"another site": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/site", "value": "leonardo"}],
		"want": {{"code": "site_other", "basis": "contract", "params": {"site": "local", "value": "leonardo"}, "path": "job.site"}},
	},
	"any site": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/site", "value": ""}],
		"want": set(),
	},
	"site by its id": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/site", "value": "site_1"}],
		"want": set(),
	},
	"missing site": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/job/site"}],
		"want": {
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "job.site"},
			{"code": "site_other", "basis": "contract", "params": {"site": "local", "value": "missing"}, "path": "job.site"},
		},
	},
	"no account": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/site/account", "value": ""}],
		"want": {{"code": "site_no_account", "basis": "contract", "params": {"person": "ada@biotech.example", "site": "local", "value": ""}, "path": "site.account"}},
	},
	"missing account": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/site/account"}],
		"want": {
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "site.account"},
			{"code": "site_no_account", "basis": "contract", "params": {"person": "ada@biotech.example", "site": "local", "value": "missing"}, "path": "site.account"},
		},
	},
	"unknown assurance": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/site/assurance", "value": "perfect"}],
		"want": {{"code": "assurance_unknown", "basis": "contract", "params": {"value": "perfect"}, "path": "site.assurance"}},
	},
	"unknown isolation": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/site/isolation", "value": "chroot"}],
		"want": {{"code": "isolation_unknown", "basis": "contract", "params": {"value": "chroot"}, "path": "site.isolation"}},
	},
	"missing isolation": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/site/isolation"}],
		"want": {
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "site.isolation"},
			{"code": "isolation_unknown", "basis": "contract", "params": {"value": "missing"}, "path": "site.isolation"},
		},
	},
}

test_contract[name] if {
	some name, c in contract_cases
	found := site.deny with input as json.patch(data.fixture[c.base], c.patch)
	found == c.want
}
