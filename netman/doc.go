// Netman is the daemon of each machine of a DNET network: it holds the circuits, finds names, starts servers. Programs reach it
// through the door, a Unix socket (protocol.md 5).
//
// It is two processes. The keeper has the rights: it opens packet sockets, owns servtab and the door, starts servers. The wire reads
// what comes from the network and from programs, and has no right at all; it asks the keeper.
//
//	keeper.go    the keeper: starts the wire, serves what it asks for
//	keptdoor.go  the door's socket, and who knocks
//	keptports.go packet sockets
//	spawn.go     starts servers; nothing else executes anything
//	resident.go  servers of servtab that are kept running
//	memo.go      what the two say to each other
//
//	wire.go      the wire: its start and its end
//	power.go     how it gives up every right
//	loop.go      the one goroutine that owns all protocol state
//	poller.go    its epoll set, and where others leave it work
//	ports.go     the interfaces, and what the kernel says of them
//	door.go      what those ask for who knocked: call, status
//	endpoint.go  a program's end of a circuit: its descriptors, both ways
//	control.go   and what is said beside the data
//	joint.go     two programs of this machine, joined without netman between
//	mount.go     /netphys: the kernel's requests for circuits as files, and those that wait
//	tree.go      the names there, which nobody is asked for
//	file.go      a circuit that is an open file; fileread.go, filewrite.go and fileask.go (poll, ioctl) are what is done with it
//	fileserve.go servers whose program opens a file for each call
//	holder.go    who holds circuits for programs, and who takes calls
//	service.go   what servtab offers: who may take a call, and when
//	guard.go     who may call, who may listen; keyring.go: which machines are known, with keyverbs.go, its verbs
//	caller.go    who a caller is here; account.go and trustfile.go: may it log in, and what do users say themselves
//	listen.go    resident servers: programs that have registered a name
//	complex.go   those that have all their circuits on one descriptor
//	shares.go    limits of which nobody may have all
//	servtab.go   servtab.toml; trusttab.go: its rules of trust
//	keys.go      the files of keys: the machine's own, the site's, those of the machines met; keptkeys.go: what the keeper does with them
//	status.go    what netman tells of itself
//	doctor.go    why machines do not see each other: this one; doctorway.go: the way to another
//	trace.go     and the frames that it shows to those who trace
//	main.go      the command line; client.go, traceverb.go and verbs.go are the verbs that ask a running netman, check.go the one that asks none
//
// What may take long (rendering status) is done by other goroutines, which hand their result to the loop.
package main
