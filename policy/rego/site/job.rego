package site

import data.lib

# METADATA
# title: A dataset's mount is one safe folder name
# custom:
#   code: mount_malformed
#   article: 73(1)(c)
#   valid_from: "2026-11-01"
deny contains lib.reason("mount_malformed", "contract", ["job", "datasets", i, "mount"], {}) if {
	some i, _ in input.job.datasets
	not mount(i)
}

# METADATA
# title: Each mount has its own name
# custom:
#   code: mount_twice
#   article: 73(1)(c)
#   valid_from: "2026-11-01"
deny contains lib.reason("mount_twice", "contract", ["job", "datasets", i, "mount"], {}) if {
	some places in mounted
	count(places) > 1
	i := max(places)
}

# METADATA
# title: An output lies below its folder
# custom:
#   code: output_path_malformed
#   article: 73(1)(c)
#   valid_from: "2026-11-01"
deny contains lib.reason("output_path_malformed", "contract", ["job", "outputs", i, "path"], {}) if {
	some i, _ in input.job.outputs
	not below(i)
}

# METADATA
# title: Each output is declared once
# custom:
#   code: output_twice
#   article: 73(1)(c)
#   valid_from: "2026-11-01"
deny contains lib.reason("output_twice", "contract", ["job", "outputs", i, "path"], {}) if {
	some places in declared
	count(places) > 1
	i := max(places)
}

# METADATA
# title: The job names the program to run
# custom:
#   code: command_missing
#   article: contract
#   valid_from: "2026-11-01"
deny contains lib.reason("command_missing", "contract", ["job", "image", "command"], {}) if {
	not runs
}

runs if {
	is_string(input.job.image.command[0])
	input.job.image.command[0] != ""
}

# METADATA
# title: A variable has a name that every shell reads
# custom:
#   code: env_name_malformed
#   article: contract
#   valid_from: "2026-11-01"
deny contains lib.reason("env_name_malformed", "contract", ["job", "image", "env", i, "name"], {}) if {
	some i, _ in input.job.image.env
	not variable(i)
}

# METADATA
# title: Names that the launcher sets are its own
# custom:
#   code: env_name_reserved
#   article: contract
#   valid_from: "2026-11-01"
deny contains lib.reason("env_name_reserved", "contract", ["job", "image", "env", i, "name"], {}) if {
	some i, _ in input.job.image.env
	startswith(input.job.image.env[i].name, "VALICO_")
}

# METADATA
# title: Each variable is set once
# custom:
#   code: env_twice
#   article: contract
#   valid_from: "2026-11-01"
deny contains lib.reason("env_twice", "contract", ["job", "image", "env", i, "name"], {}) if {
	some places in variables
	count(places) > 1
	i := max(places)
}

# METADATA
# title: The working directory is an absolute path
# custom:
#   code: workdir_malformed
#   article: contract
#   valid_from: "2026-11-01"
deny contains lib.reason("workdir_malformed", "contract", ["job", "image", "workdir"], {}) if {
	not workdir
}

workdir if input.job.image.workdir == ""

workdir if lib.folder(input.job.image.workdir)

# METADATA
# title: The user is written in numbers
# custom:
#   code: user_malformed
#   article: contract
#   valid_from: "2026-11-01"
deny contains lib.reason("user_malformed", "contract", ["job", "image", "user"], {}) if {
	not user
}

# METADATA
# title: A layer is of a class that rules judge
# custom:
#   code: layer_class_unknown
#   article: contract
#   valid_from: "2026-11-01"
deny contains lib.reason("layer_class_unknown", "contract", ["job", "image", "layers", i, "class"], {}) if {
	some i, _ in input.job.image.layers
	not class(i)
}

# METADATA
# title: A layer is named by its content
# custom:
#   code: layer_malformed
#   article: contract
#   valid_from: "2026-11-01"
deny contains lib.reason("layer_malformed", "contract", ["job", "image", "layers", i, "digest"], {"media_type": lib.value(["job", "image", "layers", i, "media_type"]), "size": lib.value(["job", "image", "layers", i, "size_bytes"])}) if {
	some i, _ in input.job.image.layers
	not layer(i)
}

layer(i) if {
	lib.digest(input.job.image.layers[i].digest)
	lib.digest(input.job.image.layers[i].diff_id)
	lib.at_most(1, input.job.image.layers[i].size_bytes)
	startswith(input.job.image.layers[i].media_type, "application/vnd.oci.image.layer.v1.tar")
}

mount(i) if lib.element(input.job.datasets[i].mount)

below(i) if lib.relative(input.job.outputs[i].path)

variable(i) if regex.match(`^[A-Za-z_][A-Za-z0-9_]{0,199}$`, input.job.image.env[i].name)

user if regex.match(`^([0-9]{1,10}(:[0-9]{1,10})?)?$`, input.job.image.user)

class(i) if input.job.image.layers[i].class in {"data", "dependencies", "source"}

mounted[mount] contains i if {
	some i, _ in input.job.datasets
	mount := input.job.datasets[i].mount
}

declared[path] contains i if {
	some i, _ in input.job.outputs
	path := input.job.outputs[i].path
}

variables[name] contains i if {
	some i, _ in input.job.image.env
	name := input.job.image.env[i].name
}
