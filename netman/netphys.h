/*
 * The ioctls of circuits as files: what has no place in a stream of octets. See doc/protocol.md, section 5, 'Files'.
 *
 *	int fd = open("/netphys/echo.moon", O_RDWR);
 *	struct netphys_interrupt stop = { 4, "stop" };
 *	ioctl(fd, NETPHYS_INTERRUPT, &stop);
 *
 * Texts are UTF-8 and end with a NUL.
 */
#ifndef NETPHYS_H
#define NETPHYS_H

#include <sys/ioctl.h>

/* The first octet of every read and write, but for /netphys/plain: */
#define NETPHYS_Q	0x80	/* qualified: a second kind of datagram */
#define NETPHYS_M	0x10	/* more: the datagram goes on */
#define NETPHYS_MAX	65536	/* octets of a write, with that one; a read of as many takes any datagram */

struct netphys_interrupt {
	unsigned char length;		/* 1 to 32 */
	unsigned char octets[32];
};

struct netphys_state {
	unsigned char state;		/* NETPHYS_WAITING and so on */
	unsigned char cause;		/* why it is over */
	unsigned char diagnostic;
	char text[129];			/* of whoever ended it; may be empty */
};

#define NETPHYS_WAITING	0	/* opened with O_NONBLOCK, and not connected yet */
#define NETPHYS_OPEN	1
#define NETPHYS_ENDED	2	/* the other end writes no more; this one may */
#define NETPHYS_OVER	3

struct netphys_peer {
	unsigned char flags;		/* NETPHYS_CALLED, NETPHYS_STREAM */
	char service[81];		/* as called */
	char machine[33];		/* of the other end */
	char user[33];			/* who called, as the calling machine says; may be empty */
};

#define NETPHYS_CALLED	1	/* the other end called, this one serves */
#define NETPHYS_STREAM	2	/* the directions end one by one */

struct netphys_clear {
	unsigned char diagnostic;
	char text[129];
};

/* Send one, past all data. Further ones wait for it to arrive: the newest one only. ENOTCONN, EPIPE, or the reason of the end. */
#define NETPHYS_INTERRUPT	_IOW('N', 1, struct netphys_interrupt)

/* Take the oldest one that has come; returns its length. EAGAIN: there is none; POLLPRI tells when there is. */
#define NETPHYS_TAKE_INTERRUPT	_IOR('N', 2, struct netphys_interrupt)

/* Write no more: the other end reads the end of the file, and may go on writing. EOPNOTSUPP: the circuit is no stream. */
#define NETPHYS_END		_IO('N', 3)

/* Whether the circuit stands, or why not. */
#define NETPHYS_STATE		_IOR('N', 4, struct netphys_state)

/* Who is at the other end. ENOTCONN: nobody yet. */
#define NETPHYS_PEER		_IOR('N', 5, struct netphys_peer)

/* End the circuit, with a reason, once what was written has arrived. */
#define NETPHYS_CLEAR		_IOW('N', 6, struct netphys_clear)

#endif
