package main

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"dnet/circuit"
	"dnet/netman/names"
)

// trustDoor is where the keeper is asked for the machine's key, the keys of others, and to know one by another key: beside the door, for
// the wire must not hear of it. What is said there is in the language of the door.
func trustDoor(door string) string { return door + ".trust" }

// Bounds of those who ask there.
const (
	trustVisitors = 16              // at once; further ones wait
	trustTime     = 5 * time.Second // in which they have to say what they want, and take the answer
)

// serveTrust answers visitors, each by itself.
func (k *keeper) serveTrust() {
	slots := make(chan struct{}, trustVisitors)
	for {
		slots <- struct{}{}
		fd, _, err := unix.Accept4(k.trustDoor.fd, unix.SOCK_CLOEXEC)
		if err != nil {
			<-slots
			if err != unix.EINTR && err != unix.ECONNABORTED {
				time.Sleep(time.Second) // no descriptors, now; or netman ends
			}
			continue
		}
		go func() {
			k.answerTrust(fd)
			unix.Close(fd)
			<-slots
		}()
	}
}

// answerTrust hears one line and answers it.
func (k *keeper) answerTrust(fd int) {
	limit := unix.NsecToTimeval(trustTime.Nanoseconds())
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit)
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit)
	buf := make([]byte, circuit.MaxLine)
	n, fds, err := circuit.RecvFds(fd, buf)
	circuit.CloseFds(fds)
	if err != nil {
		return
	}
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return
	}
	line, err := circuit.ParseRequest(buf[:n])
	answer := func(l circuit.Line) { circuit.SendFds(fd, l.Append(nil)) }
	switch {
	case err != nil:
		answer(errorLine("EINVAL", err.Error()))
	case line.Verb == "status":
		rows, err := k.keyRows(line.Word(0))
		if err != nil {
			answer(errorLine("EINVAL", err.Error()))
			return
		}
		sendRows(fd, rows)
	case line.Verb != "trust":
		answer(errorLine("EINVAL", line.Verb+" is not for this door"))
	case cred.Uid != 0 && cred.Uid != uint32(os.Getuid()):
		answer(errorLine("EACCES", "only root may say which machines are known"))
	default:
		says, err := changeKeys(k.keys, line.Word(0), names.FoldService(line.Word(1)), line.Get("key"))
		if err != nil {
			answer(errorLine("EINVAL", err.Error()))
			return
		}
		k.mu.Lock()
		who := k.users.of(cred.Uid)
		k.mu.Unlock()
		k.logf("trust: %s: %s", who, says)
		answer(circuit.Line{Verb: "ok", Words: []string{circuit.CutText(says)}})
	}
}

// keyRows answers `status identity` and `status pins`.
func (k *keeper) keyRows(what string) (rows []any, err error) {
	switch {
	case what != "identity" && what != "pins":
		return nil, errors.New("status " + what + " is not for this door")
	case k.keys == nil:
		return nil, errNoKeys
	case what == "identity":
		return []any{identityRow{Row: "identity", Machine: k.setup.machine, Key: k.keys.own()}}, nil
	}
	for _, p := range k.keys.pins() {
		p.Row = "pin"
		rows = append(rows, p)
	}
	return rows, nil
}
