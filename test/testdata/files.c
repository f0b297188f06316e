/* A call, and a server, on circuits as files: files call|serve PATH. See TestFilesC. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "netphys.h"

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static struct netphys_peer peer_of(int fd)
{
	struct netphys_peer peer;

	if (ioctl(fd, NETPHYS_PEER, &peer) < 0)
		fail("peer");
	return peer;
}

static void interrupt(int fd, const char *text)
{
	struct netphys_interrupt i = { .length = strlen(text) };

	memcpy(i.octets, text, i.length);
	if (ioctl(fd, NETPHYS_INTERRUPT, &i) < 0)
		fail("interrupt");
}

static void await_interrupt(int fd)
{
	struct netphys_interrupt i;
	struct pollfd p = { .fd = fd, .events = POLLPRI };

	if (poll(&p, 1, 20000) != 1 || !(p.revents & POLLPRI))
		fail("no interrupt");
	if (ioctl(fd, NETPHYS_TAKE_INTERRUPT, &i) != i.length)
		fail("take interrupt");
	printf("interrupt %.*s\n", i.length, (char *)i.octets);
}

static void serve(const char *path)
{
	struct netphys_clear why = { .diagnostic = 5, .text = "enough" };
	char buf[NETPHYS_MAX];
	ssize_t n;
	int fd = open(path, O_RDWR);

	if (fd < 0)
		fail(path);
	printf("called from %s\n", peer_of(fd).machine);
	if ((n = read(fd, buf, sizeof buf)) < 0 || write(fd, buf, n) != n)
		fail("echo");
	interrupt(fd, "stop");
	await_interrupt(fd);
	if (ioctl(fd, NETPHYS_CLEAR, &why) < 0)
		fail("clear");
}

static void call(const char *path)
{
	struct netphys_state state;
	char buf[NETPHYS_MAX];
	ssize_t n;
	int fd = open(path, O_RDWR);

	if (fd < 0)
		fail(path);
	printf("%s on %s\n", peer_of(fd).service, peer_of(fd).machine);
	if (write(fd, "\0hello", 6) != 6 || (n = read(fd, buf, sizeof buf)) != 6 || buf[0] != 0)
		fail("hello");
	printf("%.*s\n", (int)n - 1, buf + 1);
	await_interrupt(fd);
	interrupt(fd, "go");
	if (read(fd, buf, sizeof buf) != -1 || errno != ECONNREFUSED)
		fail("read after the end");
	if (ioctl(fd, NETPHYS_STATE, &state) < 0 || state.state != NETPHYS_OVER)
		fail("state");
	printf("cleared %02x %d %s\n", state.cause, state.diagnostic, state.text);
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "serve"))
		serve(argv[2]);
	else if (argc == 3 && !strcmp(argv[1], "call"))
		call(argv[2]);
	else
		return 2;
	return 0;
}
