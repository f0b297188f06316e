package main

import (
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"dnet/netman/trust"
	"dnet/x25"
)

// callerUser, as the user of a service in servtab, is whoever the trust rules make of the caller.
const callerUser = "caller"

// identify finds out which local user a caller is, and has the server started as that user, or as nobody.
func (l *loop) identify(e *endpoint, call trust.Call) {
	d := trust.Decide(l.trust.rules, call)
	if d.Owner == "" || !l.trust.files {
		l.startFor(e, d)
		return
	}
	l.trustFile(d.Owner, func(f *trust.File) { l.startFor(e, trust.DecideFile(d, f, call)) })
}

// startFor has the server started for a caller that is known now.
func (l *loop) startFor(e *endpoint, d trust.Decision) {
	if e.ended != nil { // the caller has gone meanwhile
		l.notStarted(e.server)
		e.release()
		return
	}
	e.server.caller = &d
	l.spawn(e)
}

// runsAs says whom the server of a job runs as, and the environment that goes with it. It looks users up: it is for the spawner.
func (job *spawnJob) runsAs() (env []string, r spawnResult) {
	s := &job.service
	if job.caller == nil {
		r.as = s.as
		return s.as.environment(s.user), r
	}
	named := ""
	r.as, r.trusted = s.as, "none"
	if d := job.caller; d.User != "" {
		as, err := findAccount(d)
		if r.unfit = err; err == nil {
			r.as, r.trusted, named = as, d.Rule, as.name
		}
	}
	if r.trusted == "none" && os.Getuid() != 0 {
		r.err = errNotTrusted // a netman that is not root has no nobody to start servers as
	}
	return append(r.as.environment(named), "DNET_TRUST="+r.trusted), r
}

// errNotTrusted is when there is no user here that a server could run as for the caller.
var errNotTrusted = errors.New("no trust rule makes the caller the user that netman runs as")

// audit writes down whom a server runs as for its caller: false if there is none, and the call is cleared.
func (l *loop) audit(e *endpoint, r spawnResult) bool {
	d, who := e.server.caller, e.c.PeerUser+"@"+e.c.Machine
	if r.unfit != nil {
		log.Printf("trust: %s is not %s in %s, though %s says so: %v", who, d.User, e.c.Service, d.Rule, r.unfit)
	}
	switch {
	case errors.Is(r.err, errNotTrusted):
		l.count("calls by callers whom no rule trusts: refused")
		l.notStarted(e.server)
		e.c.Clear(l.now, x25.CauseBarred, 0, fmt.Sprintf("%s does not trust %s", l.node.Machine(), who), &l.out)
		e.release()
		return false
	case r.err != nil:
	case r.trusted == "none":
		l.count("calls by callers whom no rule trusts: served as nobody")
	default:
		log.Printf("trust: %s is %s in %s (pid %d), by %s", who, r.as.name, e.c.Service, r.pid, r.trusted)
	}
	return true
}

// reading is one trust file that is being read, and the calls that wait for it.
type reading struct {
	waiting []func(*trust.File)
	late    bool // nobody waits any more
}

// Bounds of reading trust files. A home directory may be far away, or its owner may make it one that never answers.
const (
	trustFileTime = 2 * time.Second // after which the file counts as one that could not be read
	maxReading    = 64              // files at once; a further one is not read
)

// trustFile has somebody's ~/.dnet/trust read, elsewhere, and hands it to the caller: at once if that is not possible. The calls that
// come while it is read share it, so that the home of one user costs the others nothing.
func (l *loop) trustFile(owner string, then func(*trust.File)) {
	r := l.reading[owner]
	switch {
	case r != nil && r.late:
		then(unreadFile(owner, "an earlier attempt to read it has not ended yet"))
		return
	case r != nil:
		r.waiting = append(r.waiting, then)
		return
	case len(l.reading) >= maxReading:
		then(unreadFile(owner, "too many others are being read"))
		return
	}
	r = &reading{waiting: []func(*trust.File){then}}
	if l.reading == nil {
		l.reading = map[string]*reading{}
	}
	l.reading[owner] = r
	timer := l.after(trustFileTime, func() {
		r.late = true
		r.tell(unreadFile(owner, fmt.Sprintf("it could not be read within %v", trustFileTime)))
	})
	go readTrustFile(owner, func(f *trust.File) {
		l.post(func() {
			timer.Stop()
			delete(l.reading, owner)
			r.tell(f)
		})
	})
}

// tell hands the file to all who wait for it.
func (r *reading) tell(f *trust.File) {
	waiting := r.waiting
	r.waiting = nil
	for _, then := range waiting {
		then(f)
	}
}

func unreadFile(owner, why string) *trust.File {
	return &trust.File{Owner: owner, Path: "~" + owner + "/" + trustDir + "/" + trustName, Unread: why}
}
