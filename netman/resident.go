package main

import (
	"log"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// resident is a server of servtab that netman keeps running; it registers its name at the door by itself.
type resident struct {
	l       *loop
	service *service
	pid     int // 0: not running now
	started time.Time
	wait    time.Duration // before it is started again
	gone    bool          // servtab names it no more
}

// Bounds of the wait between two starts of a resident server; one that ran for restartForget begins anew.
const (
	restartFirst  = 100 * time.Millisecond
	restartMost   = 30 * time.Second
	restartForget = 10 * time.Second
)

// start has the spawner start the server.
func (r *resident) start() {
	if r.gone || r.l.stop != nil {
		return
	}
	r.started = r.l.now
	select {
	case r.l.spawner <- spawnJob{resident: r, env: r.l.serverEnv(r.service)}:
	default:
		r.ended(errSpawning)
	}
}

// ended is told when a resident server has ended, or could not be started: it is started again, after a wait that grows.
func (r *resident) ended(err error) {
	r.pid = 0
	if r.gone || r.l.stop != nil {
		return
	}
	if r.l.now.Sub(r.started) > restartForget {
		r.wait = 0
	}
	r.wait = min(max(2*r.wait, restartFirst), restartMost)
	log.Printf("service %s: its server has ended (%v); starting it again in %v", r.service.name, exitText(err), r.wait)
	r.l.after(r.wait, r.start)
}

// exitText says how a process ended.
func exitText(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

// quit ends a resident server for good.
func (r *resident) quit() {
	r.gone = true
	if r.pid > 0 {
		unix.Kill(-r.pid, unix.SIGTERM)
	}
}

// reload reads servtab again: services come, go and change; what is running stays as it is.
func (l *loop) reload() {
	st, err := readServtab(l.servtab, true)
	if err != nil {
		log.Printf("reload: %v; nothing is changed", err)
		return
	}
	services, err := st.services(l.node.Machine())
	if err != nil {
		log.Printf("reload: %v; nothing is changed", err)
		return
	}
	if err := l.reloadSecrets(st); err != nil {
		log.Printf("reload: %v; nothing is changed", err)
		return
	}
	for _, name := range sortedKeys(l.services) {
		if old := l.services[name]; old.path != "" && services[name] == nil {
			delete(l.services, name)
			l.node.Unregister(name)
		}
	}
	l.takeServices(services)
	log.Printf("reload: %s: %d services", l.servtab, len(services))
}

// takeServices makes the services of servtab those that this machine offers.
func (l *loop) takeServices(services map[string]*service) {
	kept := l.residents[:0]
	for _, r := range l.residents {
		if s := services[r.service.name]; s != nil && s.resident && s.same(r.service) {
			kept = append(kept, r)
			continue
		}
		r.quit()
	}
	clear(l.residents[len(kept):])
	l.residents = kept
	for _, name := range sortedKeys(services) {
		switch s := services[name]; {
		case s.resident:
			l.takeResident(s)
		default:
			l.takeTransient(s)
		}
	}
}

func (l *loop) takeResident(s *service) {
	if slices.ContainsFunc(l.residents, func(r *resident) bool { return r.service.name == s.name }) {
		return
	}
	r := &resident{l: l, service: s}
	l.residents = append(l.residents, r)
	r.start()
}

func (l *loop) takeTransient(s *service) {
	switch old := l.services[s.name]; {
	case old == nil:
		if err := l.node.Register(s.name); err != nil {
			log.Printf("service %s: %v", s.name, err)
			return
		}
		l.services[s.name] = s
	case old.path == "":
		log.Printf("service %s: a resident server has registered the name; it keeps it until it ends", s.name)
	default:
		old.path, old.argv, old.bytes, old.user, old.as, old.max = s.path, s.argv, s.bytes, s.user, s.as, s.max
		l.changeRunning(old, 0)
	}
}

// same says whether two entries of servtab describe the same resident server.
func (s *service) same(t *service) bool {
	return s.path == t.path && slices.Equal(s.argv, t.argv) && s.user == t.user
}
