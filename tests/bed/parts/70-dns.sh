# shellcheck shell=bash
# Cluster DNS: CoreDNS, built with Kubernetes, as a plain process on an address of its own, behind the Service kube-dns. It
# knows the cluster's names and the bed's; any other name fails at once, where without an uplink it would hang.

part_dns_start() {
  # Three blocks, since within one `template` would win over `kubernetes`.
  cat >"$BED_DIR/Corefile" <<EOF
cluster.local in-addr.arpa {
  bind $DNS_IP
  errors
  kubernetes cluster.local in-addr.arpa {
    kubeconfig $BED_DIR/coredns.kubeconfig bed
  }
}
bed.test {
  bind $DNS_IP
  errors
  hosts {
    $NODE_IP $BED_HOSTS
  }
}
. {
  bind $DNS_IP
  template ANY ANY {
    rcode NXDOMAIN
  }
}
EOF
  in_bed kubectl --kubeconfig "$BED_KUBECONFIG" apply -f - >>"$BED_LOGS/coredns.log" <<EOF
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: "system:coredns"}
rules:
- {apiGroups: [""], resources: [services, namespaces, pods], verbs: [list, watch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: "system:coredns"}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "system:coredns"}
subjects: [{kind: User, apiGroup: rbac.authorization.k8s.io, name: "system:coredns"}]
---
apiVersion: v1
kind: Service
metadata: {name: kube-dns, namespace: kube-system}
spec:
  clusterIP: $CLUSTER_DNS
  ports:
  - {name: dns, port: 53, protocol: UDP}
  - {name: dns-tcp, port: 53, protocol: TCP}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: kube-dns, namespace: kube-system, labels: {kubernetes.io/service-name: kube-dns}}
addressType: IPv4
endpoints: [{addresses: ["$DNS_IP"]}]
ports:
- {name: dns, port: 53, protocol: UDP}
- {name: dns-tcp, port: 53, protocol: TCP}
EOF
  start_daemon coredns coredns -conf "$BED_DIR/Corefile"
  wait_for 20 "cluster DNS" in_bed getent ahostsv4 kubernetes.default.svc.cluster.local
}
