package main

import (
	"context"
	"database/sql"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/valico-hpc/valico/cmd/valico/app"
	"github.com/valico-hpc/valico/cmd/valico/demo"
	"github.com/valico-hpc/valico/images/sandbox"
)

func TestMain(m *testing.M) {
	sandbox.MaybeInit()
	code := m.Run()
	_ = os.RemoveAll(programs.dir)
	os.Exit(code)
}

// TestScripts runs the real commands in this process; each file of
// testdata/script is one story.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", filepath.Join(e.WorkDir, "home"))
			return os.Mkdir(filepath.Join(e.WorkDir, "home"), 0o700)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"valico":        cmdValico,
			"exits":         cmdExits,
			"authority":     cmdAuthority,
			"broker":        cmdBroker,
			"loosen":        cmdLoosen,
			"capture":       cmdCapture,
			"capture-first": cmdCaptureFirst,
			"tamper":        cmdTamper,
			"alike":         cmdAlike,
		},
	})
}

func command(ts *testscript.TestScript, args []string) int {
	e := &env{
		Stdin: strings.NewReader(""), Stdout: ts.Stdout(), Stderr: ts.Stderr(), Getenv: ts.Getenv, Now: time.Now, HTTP: &http.Client{},
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	return run(ctx, e, args)
}

// cmdValico is "[!] valico ARGS".
func cmdValico(ts *testscript.TestScript, neg bool, args []string) {
	if code := command(ts, args); (code != 0) != neg {
		ts.Fatalf("valico %s: exit status %d", strings.Join(args, " "), code)
	}
}

// cmdExits is "exits CODE ARGS".
func cmdExits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if code := command(ts, args[1:]); code != want {
		ts.Fatalf("valico %s: exit status %d, want %d", strings.Join(args[1:], " "), code, want)
	}
}

// cmdAuthority makes the keys and files of a permit authority in $WORK/authority.
func cmdAuthority(ts *testscript.TestScript, _ bool, _ []string) {
	dir := ts.MkAbs("authority")
	ts.Check(os.Mkdir(dir, 0o700))
	_, err := demo.NewAuthority(dir)
	ts.Check(err)
}

// cmdLoosen makes a file readable by others.
func cmdLoosen(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(os.Chmod(ts.MkAbs(args[0]), 0o644))
}

// cmdCapture: capture NAME FILE KEY sets a variable to the word after KEY.
func cmdCapture(ts *testscript.TestScript, _ bool, args []string) {
	for line := range strings.Lines(ts.ReadFile(args[1])) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == args[2] {
			ts.Setenv(args[0], f[1])
			return
		}
	}
	ts.Fatalf("no %s in %s", args[2], args[1])
}

// cmdCaptureFirst: capture-first NAME FILE PREFIX sets a variable to the first
// word that begins so.
func cmdCaptureFirst(ts *testscript.TestScript, _ bool, args []string) {
	for w := range strings.FieldsSeq(ts.ReadFile(args[1])) {
		if strings.HasPrefix(w, args[2]) {
			ts.Setenv(args[0], w)
			return
		}
	}
	ts.Fatalf("no %s… in %s", args[2], args[1])
}

// cmdAlike is "alike ARGS", in which $JOB is somebody else's: the answer is the
// one about a job that never was, word by word.
func cmdAlike(ts *testscript.TestScript, _ bool, args []string) {
	const never = "job_00000000000000000000000000"
	job := ts.Getenv("JOB")
	ask := func(id string) (int, string) {
		var out, errs strings.Builder
		e := &env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Getenv: ts.Getenv, Now: time.Now, HTTP: &http.Client{}}
		code := run(context.Background(), e, strings.Split(strings.ReplaceAll(strings.Join(args, "\x00"), job, id), "\x00"))
		return code, strings.ReplaceAll(out.String()+"\n--\n"+errs.String(), id, "JOB")
	}
	code, theirs := ask(job)
	wantCode, want := ask(never)
	if code != wantCode || code != exitNotFound || theirs != want {
		ts.Fatalf("%s:\nexit status %d\n%s\na job that never was:\nexit status %d\n%s", strings.Join(args, " "), code, theirs, wantCode, want)
	}
}

// cmdTamper runs a statement on the broker's database, as somebody would who
// holds the file: triggers and foreign keys do not bind them.
func cmdTamper(ts *testscript.TestScript, _ bool, args []string) {
	ctx := context.Background()
	db, err := sql.Open("sqlite", "file:"+ts.MkAbs("broker/broker.db")+"?_pragma=busy_timeout(5000)&_pragma=foreign_keys(0)")
	ts.Check(err)
	defer db.Close() //nolint:errcheck // a test's
	for {
		var trigger string
		err := db.QueryRowContext(ctx, `SELECT name FROM sqlite_master WHERE type = 'trigger'`).Scan(&trigger)
		if errors.Is(err, sql.ErrNoRows) {
			break
		}
		ts.Check(err)
		_, err = db.ExecContext(ctx, `DROP TRIGGER `+trigger)
		ts.Check(err)
	}
	res, err := db.ExecContext(ctx, args[0])
	ts.Check(err)
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		ts.Fatalf("tamper changed %d rows: %v", n, err)
	}
}

// programs are valico-exec and the trainer, built once.
var programs struct {
	once sync.Once
	dir  string
	err  error
}

func buildPrograms() (string, error) {
	programs.once.Do(func() {
		if programs.dir, programs.err = os.MkdirTemp("", "valico-script-"); programs.err != nil {
			return
		}
		c := exec.Command("go", "build", "-o", filepath.Join(programs.dir, "valico-exec"), "github.com/valico-hpc/valico/cmd/valico-exec")
		c.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := c.CombinedOutput(); err != nil {
			programs.err = errors.New(string(out))
			return
		}
		programs.err = demo.BuildTrainer(context.Background(), programs.dir)
	})
	return programs.dir, programs.err
}

// cmdBroker starts a whole broker with a local site, its cohort, a permit and
// persons whose token files lie in $WORK; job.yaml is a job that is allowed.
func cmdBroker(ts *testscript.TestScript, _ bool, _ []string) {
	dir, err := buildPrograms()
	ts.Check(err)
	work := ts.MkAbs(".")
	authority, err := demo.NewAuthority(work)
	ts.Check(err)
	cfg := app.DefaultConfig()
	cfg.DataDir, cfg.Listen, cfg.Authorities = filepath.Join(work, "broker"), "127.0.0.1:0", authority.AuthoritiesFile()
	cfg.Exec, cfg.Poll = filepath.Join(dir, "valico-exec"), 50*time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	a, err := app.Open(ctx, cfg, "test")
	ts.Check(err)
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	ts.Defer(func() {
		cancel()
		ts.Check(errors.Join(<-done, a.Close()))
	})
	site, err := demo.LocalSite()
	ts.Check(err)
	w, err := demo.Prepare(ctx, demo.WorldConfig{
		Dir: work, URL: a.URL(), OperatorToken: a.OperatorTokenFile(), Authority: authority, Site: site,
		DataDir: filepath.Join(work, "cohort"), GPUHours: 10,
	})
	ts.Check(err)
	job := demo.JobFile{Permit: w.Permit.ID, Site: "local", Epochs: 3, Walltime: 2 * time.Minute}
	ts.Check(os.WriteFile(filepath.Join(work, "job.yaml"), []byte(job.YAML()), 0o600))
	job.Activity = "fine_tune"
	ts.Check(os.WriteFile(filepath.Join(work, "denied.yaml"), []byte(job.YAML()), 0o600))
	ts.Check(os.Symlink(filepath.Join(dir, "image"), filepath.Join(work, "image")))
	ts.Setenv("VALICO_SERVER", a.URL())
	ts.Setenv("OPERATOR", w.TokenFile(demo.OperatorID))
	ts.Setenv("ADA", w.TokenFile(demo.Developer))
	ts.Setenv("RITA", w.TokenFile(demo.Reviewer))
	ts.Setenv("LEDGER_KEY", filepath.Join(cfg.DataDir, "keys", "ledger.pub"))
	ts.Setenv("SECRET", strings.TrimSpace(ts.ReadFile(w.TokenFile(demo.Developer))))
}
