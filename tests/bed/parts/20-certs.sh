# shellcheck shell=bash
# One CA for the cluster and for the services beside it, and the cluster's certificates.

part_certs_start() {
  openssl ecparam -name prime256v1 -genkey -noout -out "$BED_PKI/ca.key"
  openssl req -x509 -new -key "$BED_PKI/ca.key" -subj /CN=bed-ca -days 3650 -out "$BED_PKI/ca.crt" \
    -addext "keyUsage=critical,keyCertSign,cRLSign,digitalSignature"
  openssl ecparam -name prime256v1 -genkey -noout -out "$BED_PKI/service-accounts.key"
  openssl pkey -in "$BED_PKI/service-accounts.key" -pubout -out "$BED_PKI/service-accounts.pub"

  local names=DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc
  make_cert apiserver kube-apiserver "$names,DNS:kubernetes.default.svc.cluster.local,IP:127.0.0.1,IP:10.96.0.1,IP:$NODE_IP"
  make_cert apiserver-kubelet kube-apiserver-kubelet-client "" system:masters
  make_cert front-proxy front-proxy ""
  make_cert admin kubernetes-admin "" system:masters
  make_cert controller-manager system:kube-controller-manager ""
  make_cert scheduler system:kube-scheduler ""
  make_cert kubelet system:node:node1 "DNS:node1,IP:$NODE_IP" system:nodes
  make_cert proxy system:kube-proxy ""
  make_cert coredns system:coredns ""
  local name
  for name in admin controller-manager scheduler kubelet proxy coredns; do make_kubeconfig "$name"; done
}
