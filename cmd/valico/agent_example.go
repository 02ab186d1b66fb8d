package main

// exampleAgent is the configuration that agent init writes.
const exampleAgent = `# The agent of this site. Everything here is the site's own; the broker cannot change it.
# Keys that this site trusts lie in trust/: authorities.json (who may issue permits and
# their status, who may release outputs) and broker.json (valico agent pin).

dir: {site_dir}            # shared with the nodes; a folder that only root or the agent writes
state: {dir}/state         # the agent's keys, nonces and alerts
trust: {dir}/trust
# ca: {dir}/broker-ca.pem  # the broker's certificate must hang on these; default: the system's
# proxy: http://proxy.site.example:3128   # CONNECT proxy; "none"; default: what HTTPS_PROXY says

# Each person has an account of their own. Never root, nobody or a service user: no account
# whose number is below min_uid, no account twice. A login shell is not asked for.
min_uid: 1000
accounts: {}
#   ada@biotech.example: ada

isolation: userns          # how nodes shut a workload in: userns or none
status_max_age: 15m        # how old a permit's status may be when a job starts
kill_margin: 30s           # from TERM to KILL

# What is kept of what has ended. What runs, what was not reported and the quarantine stay.
keep:
  attempt_keep: 168h            # folders of ended attempts
  attempt_bytes: 10000000000    # all of them; the oldest go earlier, else new starts end as site_disk_full
  ckpt_keep: 168h               # checkpoints of jobs that did not succeed
  ckpt_bytes: 250000000000      # of one job
  image_bytes: 500000000000     # images; those that no job needs go first, 0: as much as the disk holds

scheduler: slurm           # or nomad, or local: as the agent's own user
slurm:
  slurm_conf: /etc/slurm/slurm.conf
  slurmrestd: slurmrestd   # started under each person's uid, on a socket: no token exists
  # partition: gpu
  # account: valico
  # qos: valico
# nomad: {address: https://127.0.0.1:4646, token_file: /etc/valico/nomad.token, namespace: valico}
# exec: /usr/local/bin/valico-exec        # as the nodes see it

# Rules of this site's own: Rego, package site, in one folder. They may refuse and never permit.
# The agent starts only if they have this digest; a wrong one makes it say the right one.
# rules: {dir: {dir}/rules, digest: sha256:…}

# The site's registry. A job reads what stands here and nothing else.
datasets: []
#  - {puri: https://data.example/dataset/synthetic-screening, version: "1", path: /srv/data/screening,
#     digest: sha256:…, holder: holder-sandbox, country: IT, synthetic: true}
`
