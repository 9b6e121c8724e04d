#!/usr/bin/env bash
# Builds the image with Docker and installs ovnkctl on a kind cluster without a CNI and
# without kube-proxy. Needs docker, kind and kubectl; the sandbox (make sandbox) needs none.
set -euo pipefail
cd "$(dirname "$0")/../.."
for program in docker kind; do
	command -v "$program" >/dev/null || { echo "kind.sh: $program is not installed; 'make sandbox' needs neither Docker nor kind" >&2; exit 1; }
done
image=ghcr.io/ovnkctl/ovnkctl:dev
cluster=${KIND_CLUSTER:-ovnkctl}
make build
docker build -t "$image" -f deploy/image/Dockerfile .
kind get clusters | grep -qx "$cluster" || kind create cluster --name "$cluster" --config - <<CONFIG
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
networking: {disableDefaultCNI: true, kubeProxyMode: none, ipFamily: dual, podSubnet: "10.244.0.0/16,fd00:10:244::/56", serviceSubnet: "10.96.0.0/16,fd00:10:96::/112"}
nodes: [{role: control-plane}, {role: worker}, {role: worker}]
CONFIG
kind load docker-image --name "$cluster" "$image"
bin/ovnkctl install --wait --context "kind-$cluster" --set image.tag=dev
