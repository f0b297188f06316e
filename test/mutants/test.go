package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// verdict is what a run of go test said.
type verdict struct {
	caught bool
	test   string // the first that failed
	seed   string // of the first world that failed
	hung   bool
	err    error // it said nothing: it could not be run
	output string
}

// String is who noticed: "TestSeeds seed 7".
func (v verdict) String() string {
	text := v.test
	if v.seed != "" {
		text += " seed " + v.seed
	}
	if v.hung {
		text += " (never ends)"
	}
	return text
}

var (
	failedTest = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)
	failedSeed = regexp.MustCompile(`\bseed (\d+), at `)
	runningNow = regexp.MustCompile(`running tests:\n\s+(\S+)`)
	inTest     = regexp.MustCompile(`(?m)^dnet/\S*?\.((?:Test|Fuzz)\w+)\(`)
)

// test runs the tests of a package: those of the simulator in -seeds worlds.
func (t *tree) test(ctx context.Context, o options, dir string) (v verdict) {
	args := []string{"test", "-vet=off", "-trimpath", "-failfast", "-timeout", o.limit.String(), "./" + dir}
	if dir == simulator {
		args = append(args, "-seeds", fmt.Sprint(o.seeds))
	}
	// go test ends the tests at the limit. If it does not, or we are to end, its whole process group goes.
	ctx, cancel := context.WithTimeout(ctx, o.limit+time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, "go", args...)
	c.Dir = t.dir
	c.Env = append(os.Environ(), "GOTMPDIR="+t.dir) // what it leaves when it is killed goes with the tree
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = 5 * time.Second
	output, err := c.CombinedOutput()
	v.output = string(output)
	var status *exec.ExitError
	switch {
	case err == nil:
		return v
	case ctx.Err() != nil:
		v.err = ctx.Err()
		return v
	case !errors.As(err, &status):
		v.err = err
		return v
	case strings.Contains(v.output, "[build failed]"), strings.Contains(v.output, "[setup failed]"):
		v.err = errors.New("does not compile")
		return v
	}
	v.caught = true
	v.hung = strings.Contains(v.output, "panic: test timed out")
	for _, where := range []*regexp.Regexp{failedTest, runningNow, inTest} {
		if found := where.FindStringSubmatch(v.output); found != nil {
			v.test = found[1]
			break
		}
	}
	if v.test == "" {
		v.test = "panic"
	}
	if found := failedSeed.FindStringSubmatch(v.output); found != nil {
		v.seed = found[1]
	}
	return v
}
