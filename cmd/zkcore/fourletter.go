package main

import (
	"fmt"
	"io"
	"net"
	"time"

	"github.com/spf13/cobra"
)

// fourLetterCommand asks a server a four-letter word, for scripts on machines
// without nc.
func fourLetterCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "4lw HOST PORT WORD",
		Short: "ask a server a four-letter word (srvr, stat, ruok, …) and print the answer",
		Args:  cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			conn, err := net.DialTimeout("tcp", net.JoinHostPort(args[0], args[1]), 5*time.Second)
			if err != nil {
				return err
			}
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
				return err
			}
			if len(args[2]) != 4 {
				return fmt.Errorf("%q has not four letters", args[2])
			}
			if _, err := io.WriteString(conn, args[2]); err != nil {
				return err
			}
			_, err = io.Copy(cmd.OutOrStdout(), io.LimitReader(conn, 64<<20))
			return err
		},
	}
}
