// Package lab gives tests and the demo real machines, made of Linux namespaces, on one Ethernet.
//
//	+- the world: mount, net, pid and uts namespace; for an ordinary user a user namespace ------+
//	|  pid 1: mounts, reaps, dies with the process that started it; then nothing is left         |
//	|    +- the test binary (or the demo), run again in here                                     |
//	|                                                                                            |
//	|          bridge (one for each Lab)                                                         |
//	|     +----------+----------+                                                                |
//	|   veth       veth       veth                                                               |
//	|     |          |          |                                                                |
//	|  +--|-----+ +--|-----+ +--|-----+   each machine: its own mount, net, pid and uts          |
//	|  | eth0   | | eth0   | | eth0   |   namespace, a pid 1 that reaps, its own /run, /tmp,     |
//	|  | grumpy | | sneezy | | doc    |   /root, /var/lib, /etc/dnet, /proc and /sys; the rest   |
//	|  +--------+ +--------+ +--------+   of the file system is the host's                       |
//	+--------------------------------------------------------------------------------------------+
//
// A package of tests calls Main from its TestMain; that runs the test binary again inside a world. There, New builds the
// machines, and a Machine runs programs:
//
//	func TestMain(m *testing.M) { lab.Main(m) }
//
//	func TestUname(t *testing.T) {
//		l := lab.New(t, lab.Config{})
//		l.Netman()
//		got := l.Machine("grumpy").Output("rx", "sneezy", "uname", "-n")
//	}
//
// Root needs no user namespace. An ordinary user gets one, with the ranges of /etc/subuid and /etc/subgid where newuidmap and
// newgidmap are installed, else with a single user: root of the world is that user, and there is no other.
//
// The world ends with the process that made it, whichever way that ends: pid 1 is killed by the kernel (PR_SET_PDEATHSIG), and
// with it every process, mount, interface and file in the world's own /run. The temporary directory of tests is there
// (/run/lab), at the same place in the world and in all its machines.
//
// Nothing but `ip` (iproute2) is needed to build it. What is missing is skipped by name; see Skip.
package lab
