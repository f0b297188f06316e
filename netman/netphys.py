"""The ioctls of circuits as files, for Python: see netphys.h. Everything else is os.open, os.read, os.write and select.

    import os, netphys
    fd = os.open('/netphys/echo.moon', os.O_RDWR)
    os.write(fd, b'\\0hello')                       # the control byte comes first
    print(os.read(fd, netphys.MAX))
    netphys.interrupt(fd, b'stop')

Run as a program it is an echo server:  python3 netphys.py /netphys/listen/echo
"""
import fcntl
import struct

Q, M, MAX = 0x80, 0x10, 65536
WAITING, OPEN, ENDED, OVER = range(4)
CALLED, STREAM = 1, 2

INTERRUPT, TAKE_INTERRUPT, END, STATE, PEER, CLEAR = (
    0x40214e01, 0x80214e02, 0x00004e03, 0x80844e04, 0x80944e05, 0x40824e06)


def _text(octets):
    return octets.split(b'\0', 1)[0].decode()


def interrupt(fd, octets):
    """Send 1 to 32 octets past all data."""
    fcntl.ioctl(fd, INTERRUPT, struct.pack('B32s', len(octets), octets))


def take_interrupt(fd):
    """The oldest interrupt that has come. BlockingIOError: there is none; select.POLLPRI tells when there is."""
    got = bytearray(33)
    return bytes(got[1:1 + fcntl.ioctl(fd, TAKE_INTERRUPT, got)])


def end(fd):
    """Write no more; the other end may. For circuits of /netphys/plain."""
    fcntl.ioctl(fd, END)


def state(fd):
    """(state, cause, diagnostic, text)"""
    s, cause, diagnostic, text = struct.unpack('BBB129s', fcntl.ioctl(fd, STATE, bytes(132)))
    return s, cause, diagnostic, _text(text)


def peer(fd):
    """(flags, service, machine, user)"""
    flags, *names = struct.unpack('B81s33s33s', fcntl.ioctl(fd, PEER, bytes(148)))
    return (flags, *map(_text, names))


def clear(fd, diagnostic=0, text=''):
    """End the circuit, for a reason, once what was written has arrived."""
    fcntl.ioctl(fd, CLEAR, struct.pack('B129s', diagnostic, text.encode()[:128]))


if __name__ == '__main__':
    import os
    import sys
    import threading

    def serve(fd):
        try:
            while datagram := os.read(fd, MAX):
                os.write(fd, datagram)
        except OSError as e:
            print('netphys.py:', e, file=sys.stderr)
        os.close(fd)

    while True:  # each open takes one call
        threading.Thread(target=serve, args=(os.open(sys.argv[1], os.O_RDWR),), daemon=True).start()
