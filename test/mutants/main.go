// Mutants is `make mutants`: it asks whether the tests would notice a fault. Deliberate bugs are put into a copy of the tree, one at a
// time, and the tests that must catch each of them are run: the simulator, then the tests of the mutated package.
//
//	main.go     flags, the workers, the table
//	list.go     the mutants
//	tree.go     the copy of the tree, and a mutant in it
//	test.go     a run of go test, and what its output says about who noticed
//
// The project's own tree is only read. The control, which is the tree as it is, must pass. Status 1: a mutant survived, does not
// compile, or its text is no longer in the tree; the list must then follow the code.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"
)

// simulator is the package whose worlds every mutant must live through.
const simulator = "netman/sim"

// memory is what a process of a run may allocate, in octets: a mutant may well grow without end.
const memory = 4 << 30

// options are the flags.
type options struct {
	seeds, jobs int
	limit       time.Duration
	only        *regexp.Regexp
	all         bool
}

func main() {
	var o options
	flag.IntVar(&o.seeds, "seeds", 50, "worlds of the simulator per mutant")
	flag.IntVar(&o.jobs, "j", 2, "mutants at a time, 1 or 2")
	flag.DurationVar(&o.limit, "limit", 2*time.Minute, "how long one run of go test may take; one that takes longer has noticed")
	only := flag.String("run", "", "only mutants whose name this regular expression finds")
	flag.BoolVar(&o.all, "all", false, "run the package's own tests also when the simulator has noticed")
	flag.Parse()
	var err error
	if o.only, err = regexp.Compile(*only); err != nil || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "mutants: usage: mutants [-seeds n] [-j n] [-limit d] [-run name] [-all]:", err)
		os.Exit(2)
	}
	o.jobs = min(max(o.jobs, 1), 2)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

// run puts the chosen mutants to the test and prints how each was caught. The trees are gone when it returns.
func run(ctx context.Context, o options) error {
	limit := syscall.Rlimit{Cur: memory, Max: memory}
	if err := syscall.Setrlimit(syscall.RLIMIT_DATA, &limit); err != nil {
		return fmt.Errorf("limit of memory: %w", err)
	}
	root, err := findRoot()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	trees := make([]*tree, o.jobs)
	for i := range trees {
		if trees[i], err = copyTree(root, fmt.Sprintf("%s/%d", dir, i)); err != nil {
			return err
		}
	}
	began := time.Now()
	if err := control(ctx, o, trees[0]); err != nil {
		return err
	}
	var chosen []mutant
	for _, m := range mutants {
		if o.only.MatchString(m.name()) {
			chosen = append(chosen, m)
		}
	}
	bad := tryAll(ctx, o, trees, chosen)
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	fmt.Printf("%d mutants, %d caught, in %v\n", len(chosen), len(chosen)-len(bad), time.Since(began).Round(time.Second))
	if len(bad) > 0 {
		return fmt.Errorf("not caught: %s", strings.Join(bad, "; "))
	}
	return nil
}

// control runs the tests on the tree as it is: all must pass, or no failure means anything.
func control(ctx context.Context, o options, t *tree) error {
	began := time.Now()
	packages := []string{simulator}
	for _, m := range mutants {
		if p := m.dir(); !contains(packages, p) {
			packages = append(packages, p)
		}
	}
	for _, p := range packages {
		v := t.test(ctx, o, p)
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
		if v.caught || v.err != nil {
			return fmt.Errorf("without a mutation %s fails: %s\n%s", p, v, v.output)
		}
	}
	fmt.Printf("%-28s passes %s, in %.1f s\n", "control", strings.Join(packages, " "), time.Since(began).Seconds())
	return nil
}

func contains(all []string, s string) bool {
	for _, each := range all {
		if each == s {
			return true
		}
	}
	return false
}

// tryAll gives the mutants to one worker per tree, and returns those that were not caught.
func tryAll(ctx context.Context, o options, trees []*tree, chosen []mutant) (bad []string) {
	var (
		lock  sync.Mutex
		done  sync.WaitGroup
		count int
		next  = make(chan mutant, len(chosen))
	)
	for _, m := range chosen {
		next <- m
	}
	close(next)
	for _, t := range trees {
		done.Go(func() {
			for m := range next {
				began := time.Now()
				line, ok := t.try(ctx, o, m)
				if ctx.Err() != nil {
					return
				}
				lock.Lock()
				count++
				fmt.Printf("%2d/%d %-28s %5.1f s  %s\n", count, len(chosen), m.name(), time.Since(began).Seconds(), line)
				if !ok {
					fmt.Printf("      %s: %s\n", m.file, m.breaks)
					bad = append(bad, m.name())
				}
				lock.Unlock()
			}
		})
	}
	done.Wait()
	return bad
}

// try runs the tests on one mutant: how it was caught, and whether it was.
func (t *tree) try(ctx context.Context, o options, m mutant) (string, bool) {
	restore, err := t.apply(m)
	if err != nil {
		return err.Error(), false
	}
	defer restore()
	var by []string
	caught := false
	for _, p := range m.testedBy() {
		v := t.test(ctx, o, p)
		if v.err != nil {
			return fmt.Sprintf("%s: %v\n%s", p, v.err, v.output), false
		}
		if v.caught {
			caught = true
			by = append(by, p+": "+v.String())
			if !o.all {
				break
			}
		} else if o.all {
			by = append(by, p+": -")
		}
	}
	if !caught {
		return "SURVIVED", false
	}
	return strings.Join(by, "; "), true
}
