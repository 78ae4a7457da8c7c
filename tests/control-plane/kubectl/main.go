// kubectl as Kubernetes releases it, for machines that have none. It reads and writes what its flags say and nothing of
// this project.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"

	// Credential plugins that a kubeconfig may name.
	_ "k8s.io/client-go/plugin/pkg/client/auth"
)

func main() {
	command := cmd.NewDefaultKubectlCommand()
	if err := cli.RunNoErrOutput(command); err != nil {
		// Prints it the way scripts expect, and ends with the code they expect.
		util.CheckErr(err)
		os.Exit(1)
	}
}
