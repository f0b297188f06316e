package main

import (
	"log"
	"os"
	"os/exec"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// resident is a server of servtab that the keeper keeps running; it registers its name at the door by itself.
type resident struct {
	k       *keeper
	service *program
	pid     int           // under k.mu; 0: not running now
	gone    chan struct{} // closed when servtab names it no more, or netman ends
}

// Bounds of the wait between two starts of a resident server; one that ran for restartForget begins anew.
const (
	restartFirst  = 100 * time.Millisecond
	restartMost   = 30 * time.Second
	restartForget = 10 * time.Second
)

// takeResidents starts the resident servers of servtab that do not run, and ends those that it names no more or otherwise.
func (k *keeper) takeResidents(services map[string]*program) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.residents = slices.DeleteFunc(k.residents, func(r *resident) bool {
		s := services[r.service.name]
		stays := s != nil && s.resident && s.same(r.service)
		if !stays {
			r.quit()
		}
		return !stays
	})
	for _, name := range sortedKeys(services) {
		s := services[name]
		if !s.resident || k.going || slices.ContainsFunc(k.residents, func(r *resident) bool { return r.service.name == s.name }) {
			continue
		}
		r := &resident{k: k, service: s, gone: make(chan struct{})}
		k.residents = append(k.residents, r)
		go r.supervise()
	}
}

// supervise runs the server, and runs it again when it ends, after a wait that grows.
func (r *resident) supervise() {
	wait := time.Duration(0)
	for {
		began := time.Now()
		err := r.run()
		if time.Since(began) > restartForget {
			wait = 0
		}
		wait = min(max(2*wait, restartFirst), restartMost)
		select {
		case <-r.gone:
			return
		default:
		}
		log.Printf("service %s: its server has ended (%v); starting it again in %v", r.service.name, exitText(err), wait)
		select {
		case <-r.gone:
			return
		case <-time.After(wait):
		}
	}
}

// run runs the server once.
func (r *resident) run() error {
	s := r.service
	cmd := &exec.Cmd{Path: s.path, Args: s.argv, Env: append(r.k.serverEnv(s), s.as.environment(s.user)...), Dir: "/", Stdout: os.Stderr, Stderr: os.Stderr}
	cmd.SysProcAttr = s.as.processAttr()
	if err := r.k.onThread(cmd.Start); err != nil {
		return err
	}
	r.setPid(cmd.Process.Pid)
	for unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
	r.setPid(0)
	return cmd.Wait()
}

// setPid notes the server's process, which ends at once if it is not wanted any more.
func (r *resident) setPid(pid int) {
	r.k.mu.Lock()
	defer r.k.mu.Unlock()
	r.pid = pid
	select {
	case <-r.gone:
		r.terminate()
	default:
	}
}

// quit ends the server for good; k.mu is held.
func (r *resident) quit() {
	select {
	case <-r.gone:
	default:
		close(r.gone)
		r.terminate()
	}
}

func (r *resident) terminate() {
	if r.pid > 0 {
		unix.Kill(-r.pid, unix.SIGTERM)
	}
}

// exitText says how a process ended.
func exitText(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

// same says whether two entries of servtab describe the same resident server.
func (s *program) same(t *program) bool {
	return s.path == t.path && slices.Equal(s.argv, t.argv) && s.user == t.user
}
