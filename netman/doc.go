// Netman is the daemon of each machine of a DNET network: it holds the circuits, finds names, starts servers. Programs reach it
// through the door, a Unix socket (protocol.md 5).
//
//	loop.go      the one goroutine that owns all protocol state
//	poller.go    its epoll set, and where others leave it work
//	ports.go     the interfaces, and what the kernel says of them
//	door.go      the socket that programs knock at: call, status
//	endpoint.go  a program's end of a circuit: its descriptors, both ways
//	control.go   and what is said beside the data
//	holder.go    who holds circuits for programs, and who takes calls
//	service.go   what servtab offers: who may take a call, and when
//	listen.go    resident servers: programs that have registered a name
//	resident.go  those that netman itself keeps running, and the reload of servtab
//	spawn.go     starts servers; nothing else executes anything
//	servtab.go   servtab.toml
//	keys.go      the files of keys: the machine's own, the site's, those of the machines met
//	status.go    what netman tells of itself
//	main.go      the command line; client.go and verbs.go are the verbs that ask a running netman
//
// What may take long (starting a program, rendering status) is done by other goroutines, which hand their result to the loop.
package main
