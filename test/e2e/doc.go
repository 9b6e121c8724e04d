// Package e2e proves the network on the sandbox: real API server, kubelets, containers
// and packets. Build tag e2e; test/e2e/run starts the sandbox first.
package e2e
