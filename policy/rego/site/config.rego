package site

import data.lib

# METADATA
# title: The image runs the job's command
# custom:
#   code: image_command_differs
#   article: 73(1)(b)
#   valid_from: "2026-11-01"
deny contains lib.reason("image_command_differs", "contract", ["image", "config", "cmd"], {"allowed": lib.value(["job", "image", "command"])}) if {
	input.image
	not input.image.config.cmd == input.job.image.command
}

# METADATA
# title: The image runs nothing before the command
# custom:
#   code: image_entrypoint
#   article: 73(1)(b)
#   valid_from: "2026-11-01"
deny contains lib.reason("image_entrypoint", "contract", ["image", "config", "entrypoint"], {}) if {
	input.image
	not input.image.config.entrypoint == []
}

# METADATA
# title: The image has the job's environment
# custom:
#   code: image_env_differs
#   article: 73(1)(b)
#   valid_from: "2026-11-01"
deny contains lib.reason("image_env_differs", "contract", ["image", "config", "env"], {"allowed": lib.column(["job", "image", "env"], "name")}) if {
	input.image
	not same_env
}

# A base may add variables of its own; it changes none of the job's, sets each
# once and none that the launcher sets.
same_env if {
	own_env
	names := {input.image.config.env[i].name | some i, _ in input.image.config.env}
	count(names) == count(input.image.config.env)
	every name in names {
		not startswith(name, "VALICO_")
	}
	every i, _ in input.job.image.env {
		input.job.image.env[i].value in values[input.job.image.env[i].name]
	}
}

values := {name: held | some name, held in set_to}

set_to[name] contains value if {
	some i, _ in input.image.config.env
	name := input.image.config.env[i].name
	value := input.image.config.env[i].value
}

own_env if {
	input.job.image.base == "none"
	count(input.image.config.env) == count(input.job.image.env)
}

own_env if lib.digest(input.job.image.base)

# METADATA
# title: The image starts in the job's working directory
# custom:
#   code: image_workdir_differs
#   article: 73(1)(b)
#   valid_from: "2026-11-01"
deny contains lib.reason("image_workdir_differs", "contract", ["image", "config", "workdir"], {"allowed": lib.value(["job", "image", "workdir"])}) if {
	input.image
	not same_workdir
}

same_workdir if {
	input.job.image.workdir != ""
	input.image.config.workdir == input.job.image.workdir
}

same_workdir if {
	input.job.image.workdir == ""
	input.job.image.base == "none"
	input.image.config.workdir in {"", "/"}
}

same_workdir if {
	input.job.image.workdir == ""
	lib.digest(input.job.image.base)
	lib.folder(or_root(input.image.config.workdir))
}

or_root("") := "/"

or_root(s) := s if s != ""

# METADATA
# title: The image runs as the job's user
# custom:
#   code: image_user_differs
#   article: 73(1)(b)
#   valid_from: "2026-11-01"
deny contains lib.reason("image_user_differs", "contract", ["image", "config", "user"], {"allowed": lib.value(["job", "image", "user"])}) if {
	input.image
	not same_user
}

same_user if {
	input.job.image.user != ""
	input.image.config.user == input.job.image.user
}

same_user if {
	input.job.image.user == ""
	input.job.image.base == "none"
	input.image.config.user == ""
}

same_user if {
	input.job.image.user == ""
	lib.digest(input.job.image.base)
	is_string(input.image.config.user)
}

# METADATA
# title: The image opens no port
# custom:
#   code: image_ports
#   article: 73(1)(b)
#   valid_from: "2026-11-01"
deny contains lib.reason("image_ports", "contract", ["image", "config", "exposed_ports"], {}) if {
	input.image
	not input.image.config.exposed_ports == []
}

# METADATA
# title: The image declares no volume
# custom:
#   code: image_volumes
#   article: 73(1)(b)
#   valid_from: "2026-11-01"
deny contains lib.reason("image_volumes", "contract", ["image", "config", "volumes"], {}) if {
	input.image
	not input.image.config.volumes == []
}

# METADATA
# title: The image is for Linux and a known processor
# custom:
#   code: image_platform
#   article: 73(1)(b)
#   valid_from: "2026-11-01"
deny contains lib.reason("image_platform", "contract", ["image", "config", "architecture"], {"os": lib.value(["image", "config", "os"]), "allowed": lib.list(sort(architectures))}) if {
	input.image
	not platform
}

platform if {
	input.image.config.os == "linux"
	input.image.config.os_version == ""
	input.image.config.os_features == []
	input.image.config.args_escaped == false
	input.image.config.architecture in architectures
	input.image.config.variant in {"", "v2", "v3", "v4", "v8", "v9"}
}

architectures := {"amd64", "arm64", "ppc64le", "riscv64"}

# METADATA
# title: Labels come from the base alone
# custom:
#   code: image_labels
#   article: 73(1)(b)
#   valid_from: "2026-11-01"
deny contains lib.reason("image_labels", "contract", ["image", "config", "labels"], {}) if {
	input.image
	not labels
}

labels if input.image.config.labels == {}

labels if {
	lib.digest(input.job.image.base)
	is_object(input.image.config.labels)
}

# METADATA
# title: The image is stopped by a signal that ends a program
# custom:
#   code: image_stop_signal
#   article: 73(1)(b)
#   valid_from: "2026-11-01"
deny contains lib.reason("image_stop_signal", "contract", ["image", "config", "stop_signal"], {"allowed": lib.list(sort(stop_signals))}) if {
	input.image
	not stop_signal
}

stop_signal if input.image.config.stop_signal in stop_signals

stop_signals := {"", "SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2"}
