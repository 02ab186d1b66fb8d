package site_test

import data.site

real_data_cases := {
	"a real permit with everything there": {
		"base": "real",
		"patch": [],
		"want": set(),
	},
	"real data here and now": {
		"base": "real",
		"patch": [
			{"op": "replace", "path": "/site/assurance", "value": "advisory"},
			{"op": "replace", "path": "/site/mfa", "value": false},
			{"op": "replace", "path": "/site/quarantine", "value": false},
			{"op": "replace", "path": "/site/telemetry_budget", "value": false},
			{"op": "replace", "path": "/site/airlock", "value": false},
			{"op": "replace", "path": "/submitter/mfa", "value": false},
			{"op": "replace", "path": "/submitter/method", "value": "local_token"},
		],
		"want": {
			{"code": "real_data_needs.airlock", "basis": "contract", "params": {"regime": "EHDS_PERMIT", "value": "false"}, "path": "site.airlock"},
			{"code": "real_data_needs.enforced_site", "basis": "contract", "params": {"regime": "EHDS_PERMIT", "value": "advisory"}, "path": "site.assurance"},
			{"code": "real_data_needs.mfa", "basis": "contract", "params": {"regime": "EHDS_PERMIT", "value": "false"}, "path": "submitter.mfa"},
			{"code": "real_data_needs.quarantine", "basis": "contract", "params": {"regime": "EHDS_PERMIT", "value": "false"}, "path": "site.quarantine"},
			{"code": "real_data_needs.telemetry_budget", "basis": "contract", "params": {"regime": "EHDS_PERMIT", "value": "false"}, "path": "site.telemetry_budget"},
		},
	},
	"real data, nothing shuts the workload in": {
		"base": "real",
		"patch": [{"op": "replace", "path": "/site/isolation", "value": "none"}],
		"want": {{"code": "real_data_needs.enforced_site", "basis": "contract", "params": {"regime": "EHDS_PERMIT", "value": "enforced"}, "path": "site.assurance"}},
	},
	"real data, one factor": {
		"base": "real",
		"patch": [{"op": "replace", "path": "/submitter/mfa", "value": false}],
		"want": {{"code": "real_data_needs.mfa", "basis": "contract", "params": {"regime": "EHDS_PERMIT", "value": "false"}, "path": "submitter.mfa"}},
	},
	"real data, a site without factors": {
		"base": "real",
		"patch": [{"op": "replace", "path": "/site/mfa", "value": false}],
		"want": {{"code": "real_data_needs.mfa", "basis": "contract", "params": {"regime": "EHDS_PERMIT", "value": "true"}, "path": "submitter.mfa"}},
	},
	"missing quarantine": {
		"base": "real",
		"patch": [{"op": "remove", "path": "/site/quarantine"}],
		"want": {
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "site.quarantine"},
			{"code": "real_data_needs.quarantine", "basis": "contract", "params": {"regime": "EHDS_PERMIT", "value": "missing"}, "path": "site.quarantine"},
		},
	},
	"missing telemetry_budget": {
		"base": "real",
		"patch": [{"op": "remove", "path": "/site/telemetry_budget"}],
		"want": {
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "site.telemetry_budget"},
			{"code": "real_data_needs.telemetry_budget", "basis": "contract", "params": {"regime": "EHDS_PERMIT", "value": "missing"}, "path": "site.telemetry_budget"},
		},
	},
	"missing airlock": {
		"base": "real",
		"patch": [{"op": "remove", "path": "/site/airlock"}],
		"want": {
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "site.airlock"},
			{"code": "real_data_needs.airlock", "basis": "contract", "params": {"regime": "EHDS_PERMIT", "value": "missing"}, "path": "site.airlock"},
		},
	},
}

test_real_data[name] if {
	some name, c in real_data_cases
	found := site.deny with input as json.patch(data.fixture[c.base], c.patch)
	found == c.want
}
