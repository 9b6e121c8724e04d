package wire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

// Ask sends what no container runtime asks (History, Repair) to the program that keeps this node, and
// returns its answer, for which it has as long as patience.
func Ask(ctx context.Context, socket string, r Request, patience time.Duration) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("the node's program (container ovnkube-controller) does not answer: %w", err)
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	var answer Response
	if err := Write(conn, r); err != nil {
		return nil, fmt.Errorf("ask the node's program: %w", err)
	}
	if err := Read(conn, &answer); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = fmt.Errorf("nothing within %s", patience)
		}
		return nil, fmt.Errorf("the node's program (container ovnkube-controller) does not answer: %w", err)
	}
	if answer.Error != nil {
		return nil, answer.Error
	}
	return answer.Result, nil
}
