package eu_test

import data.eu

permit_cases := {
	"two permits": {
		"base": "admission",
		"patch": [{"op": "add", "path": "/permits/1", "value": {}}],
		"want": {{"code": "permit_count", "basis": "contract", "params": {"value": "2 entries"}, "path": "permits"}},
	},
	"another permit": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/permit", "value": "permit-2"}],
		"want": {{"code": "permit_other", "basis": "contract", "params": {"permit": "permit-1", "value": "permit-2"}, "path": "job.permit"}},
	},
	"no permit named": {
		"base": "admission",
		"patch": [
			{"op": "replace", "path": "/job/permit", "value": ""},
			{"op": "replace", "path": "/permits/0/document/id", "value": ""},
		],
		"want": {{"code": "permit_other", "basis": "contract", "params": {"permit": "", "value": ""}, "path": "job.permit"}},
	},
	"missing permit id": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/permits/0/document/id"}],
		"want": {{"code": "permit_other", "basis": "contract", "params": {"permit": "missing", "value": "permit-1"}, "path": "job.permit"}},
	},
	"another document schema": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/permits/0/document/schema", "value": "ehds-permit/v2"}],
		"want": {{"code": "permit_schema", "basis": "contract", "params": {"value": "ehds-permit/v2"}, "path": "permits[0].document.schema"}},
	},
	"missing document schema": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/permits/0/document/schema"}],
		"want": {{"code": "permit_schema", "basis": "contract", "params": {"value": "missing"}, "path": "permits[0].document.schema"}},
	},
	"answer to a data request": {
		"base": "real",
		"patch": [{"op": "replace", "path": "/permits/0/document/legal_regime", "value": "EHDS_REQUEST"}],
		"want": {{"code": "regime_is_request", "basis": "permit_condition", "params": {"value": "EHDS_REQUEST"}, "path": "permits[0].document.legal_regime"}},
	},
	"unknown regime": {
		"base": "real",
		"patch": [{"op": "replace", "path": "/permits/0/document/legal_regime", "value": "OTHER"}],
		"want": {{"code": "regime_unknown", "basis": "contract", "params": {"allowed": "ACCESS_APPROVAL, DATA_USE_AGREEMENT, EHDS_PERMIT, EHDS_REQUEST, NATIONAL_PERMIT, SANDBOX", "value": "OTHER"}, "path": "permits[0].document.legal_regime"}},
	},
	"missing regime": {
		"base": "real",
		"patch": [{"op": "remove", "path": "/permits/0/document/legal_regime"}],
		"want": {{"code": "regime_unknown", "basis": "contract", "params": {"allowed": "ACCESS_APPROVAL, DATA_USE_AGREEMENT, EHDS_PERMIT, EHDS_REQUEST, NATIONAL_PERMIT, SANDBOX", "value": "missing"}, "path": "permits[0].document.legal_regime"}},
	},
	"signature not verified": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/permits/0/verified", "value": false}],
		"want": {{"code": "permit_unverified", "basis": "contract", "params": {"value": "false"}, "path": "permits[0].verified"}},
	},
	"missing verified": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/permits/0/verified"}],
		"want": {{"code": "permit_unverified", "basis": "contract", "params": {"value": "missing"}, "path": "permits[0].verified"}},
	},
	"no issuer key": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/permits/0/issuer_key", "value": ""}],
		"want": {{"code": "permit_unverified", "basis": "contract", "params": {"value": "true"}, "path": "permits[0].verified"}},
	},
	"no permit digest": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/permits/0/digest", "value": "sha256:1"}],
		"want": {{"code": "permit_unverified", "basis": "contract", "params": {"value": "true"}, "path": "permits[0].verified"}},
	},
	"out of the issuer's scope": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/permits/0/in_scope", "value": false}],
		"want": {{"code": "permit_out_of_scope", "basis": "contract", "params": {"issuer": "key-1", "value": "false"}, "path": "permits[0].in_scope"}},
	},
	"missing scope": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/permits/0/in_scope"}],
		"want": {{"code": "permit_out_of_scope", "basis": "contract", "params": {"issuer": "key-1", "value": "missing"}, "path": "permits[0].in_scope"}},
	},
	"no digest of the decision": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/permits/0/document/document/sha256", "value": ""}],
		"want": {{"code": "permit_decision_missing", "basis": "contract", "params": {"value": ""}, "path": "permits[0].document.document.sha256"}},
	},
	"missing decision": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/permits/0/document/document"}],
		"want": {{"code": "permit_decision_missing", "basis": "contract", "params": {"value": "missing"}, "path": "permits[0].document.document.sha256"}},
	},
	"prohibited uses not acknowledged": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/permits/0/document/prohibited_uses_acknowledged", "value": false}],
		"want": {{"code": "prohibited_uses_not_acknowledged", "basis": "permit_condition", "params": {"value": "false"}, "path": "permits[0].document.prohibited_uses_acknowledged"}},
	},
	"missing acknowledgement": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/permits/0/document/prohibited_uses_acknowledged"}],
		"want": {{"code": "prohibited_uses_not_acknowledged", "basis": "permit_condition", "params": {"value": "missing"}, "path": "permits[0].document.prohibited_uses_acknowledged"}},
	},
}

test_permit[name] if {
	some name, c in permit_cases
	found := eu.deny | eu.review with input as json.patch(data.fixture[c.base], c.patch)
	found == c.want
}
