package nft

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// Exec runs the nft program.
type Exec struct{ Path string }

// missing is what nft says of a table that is not there.
const missing = "No such file or directory"

// List reads a table; it is nil when there is none.
func (e Exec) List(ctx context.Context, family, name string) (*Table, error) {
	var out, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, e.Path, "--stateless", "--json", "list", "table", family, name)
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && strings.Contains(stderr.String(), missing) {
		return nil, nil
	}
	if err != nil {
		return nil, failed("list table "+family+" "+name, err, stderr.String())
	}
	return parse(out.Bytes())
}

// Apply makes all the changes in one transaction, or none.
func (e Exec) Apply(ctx context.Context, ops []Op) error {
	if len(ops) == 0 {
		return nil
	}
	var script, stderr bytes.Buffer
	for _, o := range ops {
		script.WriteString(o.String() + "\n")
	}
	cmd := exec.CommandContext(ctx, e.Path, "-f", "-")
	cmd.Stdin, cmd.Stderr = &script, &stderr
	if err := cmd.Run(); err != nil {
		return failed("changing table "+ops[0].Family+" "+ops[0].Table, err, stderr.String())
	}
	return nil
}

func failed(what string, err error, stderr string) error {
	if text := strings.TrimSpace(stderr); text != "" {
		return fmt.Errorf("nft: %s: %s: %w", what, text, err)
	}
	return fmt.Errorf("nft: %s: %w", what, err)
}

// listing is the JSON of `nft list table`, as far as it is used (libnftables-json(5)).
type listing struct {
	Objects []struct {
		Table *struct{ Family, Name string }
		Set   *struct {
			Name string
			Type string
			Elem []json.RawMessage
		}
		Chain *struct {
			Name, Type, Hook, Policy, Dev string
			Prio                          int
		}
		Rule *struct{ Chain, Comment string }
	} `json:"nftables"`
}

func parse(data []byte) (*Table, error) {
	var l listing
	if err := json.Unmarshal(data, &l); err != nil {
		return nil, fmt.Errorf("nft: listing: %w", err)
	}
	sum := sha256.Sum256(data)
	t := &Table{Digest: hex.EncodeToString(sum[:])}
	for _, o := range l.Objects {
		switch {
		case o.Table != nil:
			t.Family, t.Name = o.Table.Family, o.Table.Name
		case o.Set != nil:
			s := Set{Name: o.Set.Name, Type: o.Set.Type}
			for _, e := range o.Set.Elem {
				var text string
				if json.Unmarshal(e, &text) != nil {
					text = string(e) // nothing of ours; it will be deleted
				}
				s.Elements = append(s.Elements, text)
			}
			t.Sets = append(t.Sets, s)
		case o.Chain != nil:
			c := Chain{Name: o.Chain.Name}
			if o.Chain.Hook != "" {
				c.Base = &Base{Type: o.Chain.Type, Hook: o.Chain.Hook, Priority: o.Chain.Prio, Policy: o.Chain.Policy, Device: o.Chain.Dev}
			}
			t.Chains = append(t.Chains, c)
		case o.Rule != nil: // rules come after all chains
			for i := range t.Chains {
				if t.Chains[i].Name == o.Rule.Chain {
					t.Chains[i].Rules = append(t.Chains[i].Rules, Rule{Comment: o.Rule.Comment})
				}
			}
		}
	}
	return t, nil
}
