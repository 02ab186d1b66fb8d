package site_test

import data.site

job_cases := {
	"missing class": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/job/image/layers/0/class"}],
		"want": {
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "job.image.layers[0].class"},
			{"code": "layer_class_unknown", "basis": "contract", "params": {"value": "missing"}, "path": "job.image.layers[0].class"},
		},
	},
	"mount ../x": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/datasets/0/mount", "value": "../x"}],
		"want": {{"code": "mount_malformed", "basis": "contract", "params": {"value": "../x"}, "path": "job.datasets[0].mount"}},
	},
	"mount a/b": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/datasets/0/mount", "value": "a/b"}],
		"want": {{"code": "mount_malformed", "basis": "contract", "params": {"value": "a/b"}, "path": "job.datasets[0].mount"}},
	},
	"mount empty": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/datasets/0/mount", "value": ""}],
		"want": {{"code": "mount_malformed", "basis": "contract", "params": {"value": ""}, "path": "job.datasets[0].mount"}},
	},
	"mount .hidden": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/datasets/0/mount", "value": ".hidden"}],
		"want": {{"code": "mount_malformed", "basis": "contract", "params": {"value": ".hidden"}, "path": "job.datasets[0].mount"}},
	},
	"mount -x": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/datasets/0/mount", "value": "-x"}],
		"want": {{"code": "mount_malformed", "basis": "contract", "params": {"value": "-x"}, "path": "job.datasets[0].mount"}},
	},
	"missing mount": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/job/datasets/0/mount"}],
		"want": {
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "job.datasets[0].mount"},
			{"code": "mount_malformed", "basis": "contract", "params": {"value": "missing"}, "path": "job.datasets[0].mount"},
		},
	},
	"mount named twice": {
		"base": "admission",
		"patch": [{"op": "add", "path": "/job/datasets/1", "value": {"puri": "https://data.example/dataset/screening", "version": "1", "mount": "screening"}}],
		"want": {{"code": "mount_twice", "basis": "contract", "params": {"value": "screening"}, "path": "job.datasets[1].mount"}},
	},
	"output /etc/x": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/outputs/0/path", "value": "/etc/x"}],
		"want": {{"code": "output_path_malformed", "basis": "contract", "params": {"value": "/etc/x"}, "path": "job.outputs[0].path"}},
	},
	"output ../x": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/outputs/0/path", "value": "../x"}],
		"want": {{"code": "output_path_malformed", "basis": "contract", "params": {"value": "../x"}, "path": "job.outputs[0].path"}},
	},
	"output a/../b": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/outputs/0/path", "value": "a/../b"}],
		"want": {{"code": "output_path_malformed", "basis": "contract", "params": {"value": "a/../b"}, "path": "job.outputs[0].path"}},
	},
	"output a//b": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/outputs/0/path", "value": "a//b"}],
		"want": {{"code": "output_path_malformed", "basis": "contract", "params": {"value": "a//b"}, "path": "job.outputs[0].path"}},
	},
	"output empty": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/outputs/0/path", "value": ""}],
		"want": {{"code": "output_path_malformed", "basis": "contract", "params": {"value": ""}, "path": "job.outputs[0].path"}},
	},
	"output a\\b": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/outputs/0/path", "value": "a\\b"}],
		"want": {{"code": "output_path_malformed", "basis": "contract", "params": {"value": "a\\b"}, "path": "job.outputs[0].path"}},
	},
	"output a newline b": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/outputs/0/path", "value": "a\nb"}],
		"want": {{"code": "output_path_malformed", "basis": "contract", "params": {"value": "a\nb"}, "path": "job.outputs[0].path"}},
	},
	"output .": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/outputs/0/path", "value": "."}],
		"want": {{"code": "output_path_malformed", "basis": "contract", "params": {"value": "."}, "path": "job.outputs[0].path"}},
	},
	"missing output path": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/job/outputs/0/path"}],
		"want": {
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "job.outputs[0].path"},
			{"code": "output_path_malformed", "basis": "contract", "params": {"value": "missing"}, "path": "job.outputs[0].path"},
		},
	},
	"output declared twice": {
		"base": "admission",
		"patch": [{"op": "add", "path": "/job/outputs/1", "value": {"path": "model/weights.bin", "type": "metrics"}}],
		"want": {{"code": "output_twice", "basis": "contract", "params": {"value": "model/weights.bin"}, "path": "job.outputs[1].path"}},
	},
	"no command": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/image/command", "value": []}],
		"want": {{"code": "command_missing", "basis": "contract", "params": {"value": "none"}, "path": "job.image.command"}},
	},
	"empty command": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/image/command", "value": [""]}],
		"want": {{"code": "command_missing", "basis": "contract", "params": {"value": ""}, "path": "job.image.command"}},
	},
	"missing command": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/job/image/command"}],
		"want": {
			{"code": "command_missing", "basis": "contract", "params": {"value": "missing"}, "path": "job.image.command"},
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "job.image.command"},
		},
	},
	"variable with a dash": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/image/env/0/name", "value": "A-B"}],
		"want": {{"code": "env_name_malformed", "basis": "contract", "params": {"value": "A-B"}, "path": "job.image.env[0].name"}},
	},
	"variable of the launcher": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/image/env/0/name", "value": "VALICO_ORDER"}],
		"want": {{"code": "env_name_reserved", "basis": "contract", "params": {"value": "VALICO_ORDER"}, "path": "job.image.env[0].name"}},
	},
	"variable of the loader": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/image/env/0/name", "value": "LD_LIBRARY_PATH"}],
		"want": set(),
	},
	"missing variable name": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/job/image/env/0/name"}],
		"want": {
			{"code": "env_name_malformed", "basis": "contract", "params": {"value": "missing"}, "path": "job.image.env[0].name"},
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "job.image.env[0].name"},
		},
	},
	"variable set twice": {
		"base": "admission",
		"patch": [{"op": "add", "path": "/job/image/env/1", "value": {"name": "OMP_NUM_THREADS", "value": "8"}}],
		"want": {{"code": "env_twice", "basis": "contract", "params": {"value": "OMP_NUM_THREADS"}, "path": "job.image.env[1].name"}},
	},
	"working directory work": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/image/workdir", "value": "work"}],
		"want": {{"code": "workdir_malformed", "basis": "contract", "params": {"value": "work"}, "path": "job.image.workdir"}},
	},
	"working directory /srv/job/": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/image/workdir", "value": "/srv/job/"}],
		"want": {{"code": "workdir_malformed", "basis": "contract", "params": {"value": "/srv/job/"}, "path": "job.image.workdir"}},
	},
	"working directory /a/../b": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/image/workdir", "value": "/a/../b"}],
		"want": {{"code": "workdir_malformed", "basis": "contract", "params": {"value": "/a/../b"}, "path": "job.image.workdir"}},
	},
	"working directory //": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/image/workdir", "value": "//"}],
		"want": {{"code": "workdir_malformed", "basis": "contract", "params": {"value": "//"}, "path": "job.image.workdir"}},
	},
	"working directory left out": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/image/workdir", "value": ""}],
		"want": set(),
	},
	"working directory /": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/image/workdir", "value": "/"}],
		"want": set(),
	},
	"missing working directory": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/job/image/workdir"}],
		"want": {
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "job.image.workdir"},
			{"code": "workdir_malformed", "basis": "contract", "params": {"value": "missing"}, "path": "job.image.workdir"},
		},
	},
	"user by name": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/image/user", "value": "root"}],
		"want": {{"code": "user_malformed", "basis": "contract", "params": {"value": "root"}, "path": "job.image.user"}},
	},
	"user left out": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/image/user", "value": ""}],
		"want": set(),
	},
	"missing user": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/job/image/user"}],
		"want": {
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "job.image.user"},
			{"code": "user_malformed", "basis": "contract", "params": {"value": "missing"}, "path": "job.image.user"},
		},
	},
	"layer said to be of the base": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/image/layers/0/class", "value": "base"}],
		"want": {{"code": "layer_class_unknown", "basis": "contract", "params": {"value": "base"}, "path": "job.image.layers[0].class"}},
	},
	"layer with another digest": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/image/layers/0/digest", "value": "sha256:1"}],
		"want": {{"code": "layer_malformed", "basis": "contract", "params": {"media_type": "application/vnd.oci.image.layer.v1.tar+zstd", "size": "1024", "value": "sha256:1"}, "path": "job.image.layers[0].digest"}},
	},
	"layer with another diff_id": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/image/layers/0/diff_id", "value": ""}],
		"want": {{"code": "layer_malformed", "basis": "contract", "params": {"media_type": "application/vnd.oci.image.layer.v1.tar+zstd", "size": "1024", "value": "sha256:1111111111111111111111111111111111111111111111111111111111111111"}, "path": "job.image.layers[0].digest"}},
	},
	"layer with another size_bytes": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/image/layers/0/size_bytes", "value": 0}],
		"want": {{"code": "layer_malformed", "basis": "contract", "params": {"media_type": "application/vnd.oci.image.layer.v1.tar+zstd", "size": "0", "value": "sha256:1111111111111111111111111111111111111111111111111111111111111111"}, "path": "job.image.layers[0].digest"}},
	},
	"layer with another media_type": {
		"base": "admission",
		"patch": [{"op": "replace", "path": "/job/image/layers/0/media_type", "value": "text/plain"}],
		"want": {{"code": "layer_malformed", "basis": "contract", "params": {"media_type": "text/plain", "size": "1024", "value": "sha256:1111111111111111111111111111111111111111111111111111111111111111"}, "path": "job.image.layers[0].digest"}},
	},
	"missing layer digest": {
		"base": "admission",
		"patch": [{"op": "remove", "path": "/job/image/layers/0/digest"}],
		"want": {
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "job.image.layers[0].digest"},
			{"code": "layer_malformed", "basis": "contract", "params": {"media_type": "application/vnd.oci.image.layer.v1.tar+zstd", "size": "1024", "value": "missing"}, "path": "job.image.layers[0].digest"},
		},
	},
}

test_job[name] if {
	some name, c in job_cases
	found := site.deny with input as json.patch(data.fixture[c.base], c.patch)
	found == c.want
}
