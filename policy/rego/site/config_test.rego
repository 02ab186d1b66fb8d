package site_test

import data.site

config_cases := {
	"another command": {
		"base": "clearance",
		"patch": [{"op": "replace", "path": "/image/config/cmd", "value": ["/bin/sh"]}],
		"want": {{"code": "image_command_differs", "basis": "contract", "params": {"allowed": "/train, --epochs, 5", "value": "/bin/sh"}, "path": "image.config.cmd"}},
	},
	"missing image command": {
		"base": "clearance",
		"patch": [{"op": "remove", "path": "/image/config/cmd"}],
		"want": {
			{"code": "image_command_differs", "basis": "contract", "params": {"allowed": "/train, --epochs, 5", "value": "missing"}, "path": "image.config.cmd"},
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "image.config.cmd"},
		},
	},
	"an entrypoint": {
		"base": "clearance",
		"patch": [{"op": "replace", "path": "/image/config/entrypoint", "value": ["/bin/sh"]}],
		"want": {{"code": "image_entrypoint", "basis": "contract", "params": {"value": "/bin/sh"}, "path": "image.config.entrypoint"}},
	},
	"missing entrypoint": {
		"base": "clearance",
		"patch": [{"op": "remove", "path": "/image/config/entrypoint"}],
		"want": {
			{"code": "image_entrypoint", "basis": "contract", "params": {"value": "missing"}, "path": "image.config.entrypoint"},
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "image.config.entrypoint"},
		},
	},
	"a variable more on no base": {
		"base": "clearance",
		"patch": [{"op": "add", "path": "/image/config/env/1", "value": {"name": "LD_PRELOAD", "value": "/x"}}],
		"want": {{"code": "image_env_differs", "basis": "contract", "params": {"allowed": "OMP_NUM_THREADS", "value": "2 entries"}, "path": "image.config.env"}},
	},
	"a variable with another value": {
		"base": "clearance",
		"patch": [{"op": "replace", "path": "/image/config/env/0/value", "value": "5"}],
		"want": {{"code": "image_env_differs", "basis": "contract", "params": {"allowed": "OMP_NUM_THREADS", "value": "1 entries"}, "path": "image.config.env"}},
	},
	"a variable twice": {
		"base": "based",
		"patch": [{"op": "add", "path": "/image/config/env/0", "value": {"name": "OMP_NUM_THREADS", "value": "9"}}],
		"want": {{"code": "image_env_differs", "basis": "contract", "params": {"allowed": "OMP_NUM_THREADS", "value": "3 entries"}, "path": "image.config.env"}},
	},
	"a launcher's variable from the base": {
		"base": "based",
		"patch": [{"op": "replace", "path": "/image/config/env/0/name", "value": "VALICO_ORDER"}],
		"want": {{"code": "image_env_differs", "basis": "contract", "params": {"allowed": "OMP_NUM_THREADS", "value": "2 entries"}, "path": "image.config.env"}},
	},
	"missing image environment": {
		"base": "clearance",
		"patch": [{"op": "remove", "path": "/image/config/env"}],
		"want": {
			{"code": "image_env_differs", "basis": "contract", "params": {"allowed": "OMP_NUM_THREADS", "value": "missing"}, "path": "image.config.env"},
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "image.config.env"},
		},
	},
	"another working directory": {
		"base": "clearance",
		"patch": [{"op": "replace", "path": "/image/config/workdir", "value": "/tmp"}],
		"want": {{"code": "image_workdir_differs", "basis": "contract", "params": {"allowed": "/work", "value": "/tmp"}, "path": "image.config.workdir"}},
	},
	"no working directory on no base": {
		"base": "clearance",
		"patch": [
			{"op": "replace", "path": "/job/image/workdir", "value": ""},
			{"op": "replace", "path": "/image/config/workdir", "value": "/"},
		],
		"want": set(),
	},
	"a working directory that nobody asked for": {
		"base": "clearance",
		"patch": [{"op": "replace", "path": "/job/image/workdir", "value": ""}],
		"want": {{"code": "image_workdir_differs", "basis": "contract", "params": {"allowed": "", "value": "/work"}, "path": "image.config.workdir"}},
	},
	"the base's working directory": {
		"base": "based",
		"patch": [{"op": "replace", "path": "/job/image/workdir", "value": ""}],
		"want": set(),
	},
	"no working directory at all": {
		"base": "based",
		"patch": [
			{"op": "replace", "path": "/job/image/workdir", "value": ""},
			{"op": "replace", "path": "/image/config/workdir", "value": ""},
		],
		"want": set(),
	},
	"the base's bad working directory": {
		"base": "based",
		"patch": [
			{"op": "replace", "path": "/job/image/workdir", "value": ""},
			{"op": "replace", "path": "/image/config/workdir", "value": "work"},
		],
		"want": {{"code": "image_workdir_differs", "basis": "contract", "params": {"allowed": "", "value": "work"}, "path": "image.config.workdir"}},
	},
	"missing image working directory": {
		"base": "clearance",
		"patch": [{"op": "remove", "path": "/image/config/workdir"}],
		"want": {
			{"code": "image_workdir_differs", "basis": "contract", "params": {"allowed": "/work", "value": "missing"}, "path": "image.config.workdir"},
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "image.config.workdir"},
		},
	},
	"another user": {
		"base": "clearance",
		"patch": [{"op": "replace", "path": "/image/config/user", "value": "0"}],
		"want": {{"code": "image_user_differs", "basis": "contract", "params": {"allowed": "1000:1000", "value": "0"}, "path": "image.config.user"}},
	},
	"no user": {
		"base": "clearance",
		"patch": [
			{"op": "replace", "path": "/job/image/user", "value": ""},
			{"op": "replace", "path": "/image/config/user", "value": ""},
		],
		"want": set(),
	},
	"the base's user": {
		"base": "based",
		"patch": [{"op": "replace", "path": "/job/image/user", "value": ""}],
		"want": set(),
	},
	"missing image user": {
		"base": "clearance",
		"patch": [{"op": "remove", "path": "/image/config/user"}],
		"want": {
			{"code": "image_user_differs", "basis": "contract", "params": {"allowed": "1000:1000", "value": "missing"}, "path": "image.config.user"},
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "image.config.user"},
		},
	},
	"a port": {
		"base": "clearance",
		"patch": [{"op": "replace", "path": "/image/config/exposed_ports", "value": ["80/tcp"]}],
		"want": {{"code": "image_ports", "basis": "contract", "params": {"value": "80/tcp"}, "path": "image.config.exposed_ports"}},
	},
	"missing ports": {
		"base": "clearance",
		"patch": [{"op": "remove", "path": "/image/config/exposed_ports"}],
		"want": {
			{"code": "image_ports", "basis": "contract", "params": {"value": "missing"}, "path": "image.config.exposed_ports"},
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "image.config.exposed_ports"},
		},
	},
	"a volume": {
		"base": "clearance",
		"patch": [{"op": "replace", "path": "/image/config/volumes", "value": ["/data"]}],
		"want": {{"code": "image_volumes", "basis": "contract", "params": {"value": "/data"}, "path": "image.config.volumes"}},
	},
	"missing volumes": {
		"base": "clearance",
		"patch": [{"op": "remove", "path": "/image/config/volumes"}],
		"want": {
			{"code": "image_volumes", "basis": "contract", "params": {"value": "missing"}, "path": "image.config.volumes"},
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "image.config.volumes"},
		},
	},
	"image with another os": {
		"base": "clearance",
		"patch": [{"op": "replace", "path": "/image/config/os", "value": "windows"}],
		"want": {{"code": "image_platform", "basis": "contract", "params": {"allowed": "amd64, arm64, ppc64le, riscv64", "os": "windows", "value": "amd64"}, "path": "image.config.architecture"}},
	},
	"image with another architecture": {
		"base": "clearance",
		"patch": [{"op": "replace", "path": "/image/config/architecture", "value": "s390x"}],
		"want": {{"code": "image_platform", "basis": "contract", "params": {"allowed": "amd64, arm64, ppc64le, riscv64", "os": "linux", "value": "s390x"}, "path": "image.config.architecture"}},
	},
	"image with another variant": {
		"base": "clearance",
		"patch": [{"op": "replace", "path": "/image/config/variant", "value": "v99"}],
		"want": {{"code": "image_platform", "basis": "contract", "params": {"allowed": "amd64, arm64, ppc64le, riscv64", "os": "linux", "value": "amd64"}, "path": "image.config.architecture"}},
	},
	"image with another os_version": {
		"base": "clearance",
		"patch": [{"op": "replace", "path": "/image/config/os_version", "value": "10"}],
		"want": {{"code": "image_platform", "basis": "contract", "params": {"allowed": "amd64, arm64, ppc64le, riscv64", "os": "linux", "value": "amd64"}, "path": "image.config.architecture"}},
	},
	"image with another os_features": {
		"base": "clearance",
		"patch": [{"op": "replace", "path": "/image/config/os_features", "value": ["win32k"]}],
		"want": {{"code": "image_platform", "basis": "contract", "params": {"allowed": "amd64, arm64, ppc64le, riscv64", "os": "linux", "value": "amd64"}, "path": "image.config.architecture"}},
	},
	"image with another args_escaped": {
		"base": "clearance",
		"patch": [{"op": "replace", "path": "/image/config/args_escaped", "value": true}],
		"want": {{"code": "image_platform", "basis": "contract", "params": {"allowed": "amd64, arm64, ppc64le, riscv64", "os": "linux", "value": "amd64"}, "path": "image.config.architecture"}},
	},
	"missing architecture": {
		"base": "clearance",
		"patch": [{"op": "remove", "path": "/image/config/architecture"}],
		"want": {
			{"code": "image_platform", "basis": "contract", "params": {"allowed": "amd64, arm64, ppc64le, riscv64", "os": "linux", "value": "missing"}, "path": "image.config.architecture"},
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "image.config.architecture"},
		},
	},
	"a label on no base": {
		"base": "clearance",
		"patch": [{"op": "add", "path": "/image/config/labels/x", "value": "y"}],
		"want": {{"code": "image_labels", "basis": "contract", "params": {"value": "an object"}, "path": "image.config.labels"}},
	},
	"missing labels": {
		"base": "clearance",
		"patch": [{"op": "remove", "path": "/image/config/labels"}],
		"want": {
			{"code": "image_labels", "basis": "contract", "params": {"value": "missing"}, "path": "image.config.labels"},
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "image.config.labels"},
		},
	},
	"missing labels of a base": {
		"base": "based",
		"patch": [{"op": "remove", "path": "/image/config/labels"}],
		"want": {
			{"code": "image_labels", "basis": "contract", "params": {"value": "missing"}, "path": "image.config.labels"},
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "image.config.labels"},
		},
	},
	"stopped by SIGSTOP": {
		"base": "clearance",
		"patch": [{"op": "replace", "path": "/image/config/stop_signal", "value": "SIGSTOP"}],
		"want": {{"code": "image_stop_signal", "basis": "contract", "params": {"allowed": ", SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2", "value": "SIGSTOP"}, "path": "image.config.stop_signal"}},
	},
	"no stop signal": {
		"base": "clearance",
		"patch": [{"op": "replace", "path": "/image/config/stop_signal", "value": ""}],
		"want": set(),
	},
	"missing stop signal": {
		"base": "clearance",
		"patch": [{"op": "remove", "path": "/image/config/stop_signal"}],
		"want": {
			{"code": "image_stop_signal", "basis": "contract", "params": {"allowed": ", SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2", "value": "missing"}, "path": "image.config.stop_signal"},
			{"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": "image.config.stop_signal"},
		},
	},
}

test_config[name] if {
	some name, c in config_cases
	found := site.deny with input as json.patch(data.fixture[c.base], c.patch)
	found == c.want
}
