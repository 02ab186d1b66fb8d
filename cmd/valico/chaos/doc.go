// Package chaos holds one test: 200 jobs at real sites whose daemons are killed,
// hung and cut off under them, drawn from a seed.
//
//	broker process ─▶ slurmrestd ─▶ slurmctld, slurmdbd, slurmd × 4    120 jobs
//	               ─▶ bad link ─▶ Nomad agent                          40 jobs
//	               ◀─ bad link ◀─ valico agent ─▶ local scheduler      40 jobs
//
// While the jobs run, one fault after the other strikes: kill -9 of the broker
// (and with it of its NATS server and its in-process agents), of the remote
// agent, of slurmrestd, of slurmctld, slurmdbd or a slurmd, of the Nomad agent; a
// hang of slurmctld or of the Nomad agent; a link that is slow, loses, resets, is
// cut or silent. Each is taken back after a moment, the work never is.
//
// Afterwards every job must have ended in the truth, as its own notes on the
// node have it: none was started twice, none is said to have succeeded that did
// not end, none to have failed that ended well, and none runs on that was
// cancelled. The budgets are what the schedulers' own accounting says, to the
// second.
//
// It has its own Slurm and Nomad, because it breaks them. Start at
// chaos_integration_test.go, then faults_integration_test.go and
// truth_integration_test.go.
package chaos
