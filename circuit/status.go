package circuit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// maxRow bounds a record of status, in octets.
const maxRow = 1 << 20

// Status asks netman for a part of its state: status, links, services, circuits or counters. Each row is one
// JSON object, whose keys netman(8) explains.
func Status(ctx context.Context, what string, o Options) (rows []json.RawMessage, err error) {
	fd, err := openDoor(ctx, o.door())
	if err != nil {
		return nil, err
	}
	request := Line{Verb: "status", Words: []string{what}}
	if err = SendFds(fd, request.AppendRequest(nil)); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("send", err)
	}
	door, err := newFile(fd, "door")
	if err != nil {
		return nil, err
	}
	defer door.Close()
	defer context.AfterFunc(ctx, func() { door.Close() })()
	buf := make([]byte, maxRow)
	for {
		n, err := door.Read(buf)
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil {
			return nil, fmt.Errorf("status: %w", errors.Join(ctx.Err(), err))
		}
		if line, err := ParseLine(buf[:n]); err == nil && line.Verb == "error" {
			return nil, answerError(line)
		}
		rows = append(rows, json.RawMessage(append([]byte(nil), buf[:n]...)))
	}
}
