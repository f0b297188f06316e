package test

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"dnet/circuit"
)

// TestWhoCalls: in pinned mode a caller from another machine is whom its keeper vouches for; the rules believe it once its key is accepted.
func TestWhoCalls(t *testing.T) {
	const rules = "[[trust]]\nmachines = [\"*\"]\nusers = [\"*\"]\nas = [\"=\"]\n"
	const script = `echo $(id -un) trust=$DNET_TRUST peer=$DNET_PEER_USER@$DNET_PEER_MACHINE`
	grumpy, doc := peopled(t, guarded("pinned")+rules+
		"[[service]]\nname = \"who.%m\"\nexec = [\"/bin/sh\", \"-c\", \""+script+"\"]\nmode = \"bytes\"\nuser = \"caller\"\n")
	ask := func(who, want string) {
		t.Helper()
		as(t, grumpy, who, "netman", "nc", "who.doc").ends(t).must(t, want+"\n", "", 0)
	}
	ask("alice", "nobody trust=none peer=alice@grumpy")
	sh(t, doc, "netman trust accept grumpy")
	p := as(t, grumpy, "alice", "netman", "nc", "who.doc").ends(t)
	if out := p.stdout.String(); !strings.HasPrefix(out, "alice trust=/etc/dnet/servtab.toml:") || !strings.HasSuffix(out, "peer=alice@grumpy\n") {
		t.Errorf("a caller of an accepted machine is %q, %q", out, &p.stderr)
	}
	// Nobody is vouched for who opens a file: it is not the keeper that the kernel tells of it.
	file := start(t, grumpy, nil, "setpriv", fmt.Sprintf("--reuid=%d", people["alice"]), "--clear-groups", "sh", "-c", "cat $DNET_NETPHYS/plain/who.doc")
	file.ends(t).must(t, "nobody trust=none peer=@grumpy\n", "", 0)
	// A restart of either side changes nothing.
	for range 2 {
		grumpy.KillNetman(unix.SIGTERM)
		grumpy.Netman()
		ask("bob", strings.TrimSpace(strings.ReplaceAll(p.stdout.String(), "alice", "bob")))
		doc.KillNetman(unix.SIGTERM)
		doc.Netman()
		ask("bob", strings.TrimSpace(strings.ReplaceAll(p.stdout.String(), "alice", "bob")))
	}
	// A resident server is told of the same user.
	lis := listen(t, doc, "mine.doc", circuit.Options{})
	caller := as(t, grumpy, "bob", "netman", "nc", "mine.doc")
	call, err := lis.Accept()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := call.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if conn.Peer.User != "bob" || conn.Peer.Machine != "grumpy" {
		t.Errorf("a resident server is called by %+v", conn.Peer)
	}
	conn.Close()
	caller.ends(t)
}
