// Package session is what rx and ncu share: somebody's program on this machine, for a user of another one.
//
// On the side of the program:
//
//	process.go   starts a program in a session of its own, on pipes or on a terminal, and ends all of it
//	shell.go     the user's login shell and the environment that a caller may have a say in
//	audit.go     a line of the log for each session
//	utmp.go      who(1) and last(1)
//
// On the side of the user, whose terminal must be as it was when all is over, whichever way that comes:
//
//	local.go     the terminal: raw, put right, stopped and continued, resized
//	screen.go    what programs have switched on in it, so that it can be switched off
//	escape.go    ~. and the like
//	wipe.go      passwords among the arguments
//
// Between the two:
//
//	request.go   what is asked for, as octets (protocol.md 6)
//	modes.go     a terminal's size and modes in that
package session
