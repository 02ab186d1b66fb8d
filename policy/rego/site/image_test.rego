package site_test

import data.site

image_cases := {
	"no image at clearance": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/moment", "value": "clearance"}],
		"want": {{"code": "image_missing", "basis": "contract", "params": {"value": "missing"}, "path": "image"}},
	},
	"image not signed": {
		"base": "clearance",
		"patch": [{"op": "replace", "path": "/image/signed", "value": false}],
		"want": {{"code": "image_unsigned", "basis": "contract", "params": {"value": "false"}, "path": "image.signed"}},
	},
	"missing signed": {
		"base": "clearance",
		"patch": [{"op": "remove", "path": "/image/signed"}],
		"want": {
			{"code": "image_unsigned", "basis": "contract", "params": {"value": "missing"}, "path": "image.signed"},
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "image.signed"},
		},
	},
	"no signing key": {
		"base": "clearance",
		"patch": [{"op": "replace", "path": "/image/signer_key", "value": ""}],
		"want": {{"code": "image_unsigned", "basis": "contract", "params": {"value": "true"}, "path": "image.signed"}},
	},
	"no image digest": {
		"base": "clearance",
		"patch": [{"op": "replace", "path": "/image/digest", "value": ""}],
		"want": {{"code": "image_unsigned", "basis": "contract", "params": {"value": "true"}, "path": "image.signed"}},
	},
	"another base": {
		"base": "clearance",
		"patch": [{"op": "replace", "path": "/image/base", "value": "sha256:9999999999999999999999999999999999999999999999999999999999999999"}],
		"want": {{"code": "image_base_differs", "basis": "contract", "params": {"allowed": "none", "value": "sha256:9999999999999999999999999999999999999999999999999999999999999999"}, "path": "image.base"}},
	},
	"missing image base": {
		"base": "clearance",
		"patch": [{"op": "remove", "path": "/image/base"}],
		"want": {
			{"code": "image_base_differs", "basis": "contract", "params": {"allowed": "none", "value": "missing"}, "path": "image.base"},
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "image.base"},
		},
	},
	"a layer more": {
		"base": "clearance",
		"patch": [
			{"op": "add", "path": "/image/layers/1", "value": {"class": "source", "media_type": "application/vnd.oci.image.layer.v1.tar", "digest": "sha256:7777777777777777777777777777777777777777777777777777777777777777", "diff_id": "sha256:8888888888888888888888888888888888888888888888888888888888888888", "size_bytes": 1}},
			{"op": "add", "path": "/image/config/diff_ids/1", "value": "sha256:8888888888888888888888888888888888888888888888888888888888888888"},
		],
		"want": {{"code": "image_layers_differ", "basis": "contract", "params": {"declared": "sha256:1111111111111111111111111111111111111111111111111111111111111111", "value": "2 entries"}, "path": "image.layers"}},
	},
	"a base layer on no base": {
		"base": "clearance",
		"patch": [
			{"op": "add", "path": "/image/layers/0", "value": {"class": "base", "media_type": "application/vnd.oci.image.layer.v1.tar", "digest": "sha256:7777777777777777777777777777777777777777777777777777777777777777", "diff_id": "sha256:8888888888888888888888888888888888888888888888888888888888888888", "size_bytes": 1}},
			{"op": "add", "path": "/image/config/diff_ids/0", "value": "sha256:8888888888888888888888888888888888888888888888888888888888888888"},
		],
		"want": {{"code": "image_layers_differ", "basis": "contract", "params": {"declared": "sha256:1111111111111111111111111111111111111111111111111111111111111111", "value": "2 entries"}, "path": "image.layers"}},
	},
	"image layer with another class": {
		"base": "clearance",
		"patch": [{"op": "replace", "path": "/image/layers/0/class", "value": "data"}],
		"want": {{"code": "image_layers_differ", "basis": "contract", "params": {"declared": "sha256:1111111111111111111111111111111111111111111111111111111111111111", "value": "1 entries"}, "path": "image.layers"}},
	},
	"image layer with another media_type": {
		"base": "clearance",
		"patch": [{"op": "replace", "path": "/image/layers/0/media_type", "value": "application/vnd.oci.image.layer.v1.tar"}],
		"want": {{"code": "image_layers_differ", "basis": "contract", "params": {"declared": "sha256:1111111111111111111111111111111111111111111111111111111111111111", "value": "1 entries"}, "path": "image.layers"}},
	},
	"image layer with another digest": {
		"base": "clearance",
		"patch": [{"op": "replace", "path": "/image/layers/0/digest", "value": "sha256:7777777777777777777777777777777777777777777777777777777777777777"}],
		"want": {{"code": "image_layers_differ", "basis": "contract", "params": {"declared": "sha256:1111111111111111111111111111111111111111111111111111111111111111", "value": "1 entries"}, "path": "image.layers"}},
	},
	"image layer with another size_bytes": {
		"base": "clearance",
		"patch": [{"op": "replace", "path": "/image/layers/0/size_bytes", "value": 1025}],
		"want": {{"code": "image_layers_differ", "basis": "contract", "params": {"declared": "sha256:1111111111111111111111111111111111111111111111111111111111111111", "value": "1 entries"}, "path": "image.layers"}},
	},
	"image layer with another diff_id": {
		"base": "clearance",
		"patch": [{"op": "replace", "path": "/image/layers/0/diff_id", "value": "sha256:8888888888888888888888888888888888888888888888888888888888888888"}],
		"want": {{"code": "image_layers_differ", "basis": "contract", "params": {"declared": "sha256:1111111111111111111111111111111111111111111111111111111111111111", "value": "1 entries"}, "path": "image.layers"}},
	},
	"another rootfs": {
		"base": "clearance",
		"patch": [{"op": "replace", "path": "/image/config/diff_ids", "value": ["sha256:8888888888888888888888888888888888888888888888888888888888888888"]}],
		"want": {{"code": "image_layers_differ", "basis": "contract", "params": {"declared": "sha256:1111111111111111111111111111111111111111111111111111111111111111", "value": "1 entries"}, "path": "image.layers"}},
	},
	"rootfs with more": {
		"base": "clearance",
		"patch": [{"op": "replace", "path": "/image/config/diff_ids", "value": ["sha256:2222222222222222222222222222222222222222222222222222222222222222", "sha256:8888888888888888888888888888888888888888888888888888888888888888"]}],
		"want": {{"code": "image_layers_differ", "basis": "contract", "params": {"declared": "sha256:1111111111111111111111111111111111111111111111111111111111111111", "value": "1 entries"}, "path": "image.layers"}},
	},
	"base layer not first": {
		"base": "based",
		"patch": [
			{"op": "replace", "path": "/image/layers/0/class", "value": "dependencies"},
			{"op": "replace", "path": "/image/layers/1/class", "value": "base"},
		],
		"want": {{"code": "image_layers_differ", "basis": "contract", "params": {"declared": "sha256:3333333333333333333333333333333333333333333333333333333333333333, sha256:1111111111111111111111111111111111111111111111111111111111111111", "value": "3 entries"}, "path": "image.layers"}},
	},
	"missing layers": {
		"base": "clearance",
		"patch": [{"op": "remove", "path": "/image/layers"}],
		"want": {
			{"code": "image_layers_differ", "basis": "contract", "params": {"declared": "sha256:1111111111111111111111111111111111111111111111111111111111111111", "value": "missing"}, "path": "image.layers"},
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "image.layers"},
		},
	},
	"missing rootfs": {
		"base": "clearance",
		"patch": [{"op": "remove", "path": "/image/config/diff_ids"}],
		"want": {
			{"code": "image_layers_differ", "basis": "contract", "params": {"declared": "sha256:1111111111111111111111111111111111111111111111111111111111111111", "value": "1 entries"}, "path": "image.layers"},
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "image.config.diff_ids"},
		},
	},
}

test_image[name] if {
	some name, c in image_cases
	found := site.deny with input as json.patch(data.fixture[c.base], c.patch)
	found == c.want
}
