package main

import (
	"fmt"
	"os"
	"sync"
	"time"

	"dnet/netman/trust"
)

// callerUser, as the user of a service in servtab, is whoever the trust rules make of the caller.
const callerUser = "caller"

// runner is whom a server runs as, and the environment that goes with it.
type runner struct {
	as      identity
	env     []string
	trusted string // the rule that made the caller this user; "none": it is nobody; "": the caller does not decide it
	unfit   error  // why the user that a rule made of the caller is not it
}

// barred is why a call is cleared 0B.
type barred struct{ text string }

func (b *barred) Error() string { return b.text }

// runnerFor says whom a server of the program runs as for a caller: the user of servtab, or whoever the rules of trust make of the caller.
// It may wait for somebody's ~/.dnet/trust.
func (k *keeper) runnerFor(p *program, call trust.Call) (*runner, error) {
	if !p.caller {
		return &runner{as: p.as, env: p.as.environment(p.user)}, nil
	}
	rules := k.rules()
	d := trust.Decide(rules.rules, call)
	if d.Owner != "" && rules.files {
		d = trust.DecideFile(d, k.files.read(d.Owner), call)
	}
	r := p.runAs(&d)
	if r.unfit != nil {
		k.logf("trust: %s@%s is not %s in %s, though %s says so: %v", call.User, call.Machine, d.User, call.Service, d.Rule, r.unfit)
	}
	if r.trusted == "none" && os.Getuid() != 0 { // a netman that is not root has no nobody to start servers as
		return nil, &barred{fmt.Sprintf("%s does not trust %s@%s", k.setup.machine, call.User, call.Machine)}
	}
	return r, nil
}

// runAs is whom a server runs as for whoever the rules of trust made of the caller. It looks users up.
func (p *program) runAs(d *trust.Decision) *runner {
	r, named := &runner{as: p.as, trusted: "none"}, ""
	if d.User != "" {
		as, err := findAccount(d)
		if r.unfit = err; err == nil {
			r.as, r.trusted, named = as, d.Rule, as.name
		}
	}
	r.env = append(r.as.environment(named), "DNET_TRUST="+r.trusted)
	return r
}

// audit writes down whom a server runs as for its caller.
func (k *keeper) audit(call trust.Call, who *runner, pid int) {
	if who.trusted != "" && who.trusted != "none" {
		k.logf("trust: %s@%s is %s in %s (pid %d), by %s", call.User, call.Machine, who.as.name, call.Service, pid, who.trusted)
	}
}

// trustFiles reads ~/.dnet/trust of users, for those who wait for it.
type trustFiles struct {
	mu      sync.Mutex
	reading map[string]*reading // by owner
}

// reading is one trust file that is being read.
type reading struct {
	done chan struct{}
	file *trust.File // once it is done
}

// Bounds of reading trust files. A home directory may be far away, or its owner may make it one that never answers.
const (
	trustFileTime = 2 * time.Second // after which the file counts as one that could not be read
	maxReading    = 64              // files at once; a further one is not read
)

// read has somebody's ~/.dnet/trust read, on a thread of its own, and waits for it. Those who come while it is read share it, so that the
// home of one user costs the others nothing.
func (t *trustFiles) read(owner string) *trust.File {
	t.mu.Lock()
	r := t.reading[owner]
	switch {
	case r != nil:
	case len(t.reading) >= maxReading:
		t.mu.Unlock()
		return unreadFile(owner, "too many others are being read")
	default:
		r = &reading{done: make(chan struct{})}
		if t.reading == nil {
			t.reading = map[string]*reading{}
		}
		t.reading[owner] = r
		go readTrustFile(owner, func(f *trust.File) {
			t.mu.Lock()
			defer t.mu.Unlock()
			delete(t.reading, owner)
			r.file = f
			close(r.done)
		})
	}
	t.mu.Unlock()
	select {
	case <-r.done:
		return r.file
	case <-time.After(trustFileTime):
		return unreadFile(owner, fmt.Sprintf("it could not be read within %v", trustFileTime))
	}
}

func unreadFile(owner, why string) *trust.File {
	return &trust.File{Owner: owner, Path: "~" + owner + "/" + trustDir + "/" + trustName, Unread: why}
}
