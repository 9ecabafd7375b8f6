# shellcheck shell=bash
# The node: kubelet and kube-proxy. BED_POD_PIDS: how many processes a pod may have; -1 for any number.

part_kubelet_start() {
  # Evictions and image cleaning would come at the wrong moment in a test; a machine's full disk is not what it looks for.
  cat >"$BED_DIR/kubelet.yaml" <<EOF
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: /$BED_CGROUP
failSwapOn: false
makeIPTablesUtilChains: false
oomScoreAdj: 0
podPidsLimit: ${BED_POD_PIDS:-1024}
maxPods: 200
address: $NODE_IP
tlsCertFile: $BED_PKI/kubelet.crt
tlsPrivateKeyFile: $BED_PKI/kubelet.key
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: $BED_PKI/ca.crt}
authorization: {mode: Webhook}
clusterDomain: cluster.local
clusterDNS: ["$CLUSTER_DNS"]
resolvConf: $BED_DIR/resolv.conf
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
serializeImagePulls: false
registryPullQPS: 0
eventRecordQPS: 0
kubeAPIQPS: 200
kubeAPIBurst: 400
syncFrequency: 10s
nodeStatusUpdateFrequency: 10s
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard: {memory.available: 50Mi, nodefs.available: 1%, imagefs.available: 1%, nodefs.inodesFree: 1%}
EOF
  kubelet_run

  # Rules follow endpoints as fast as they can: a rolling update counts the connections that meet an old rule.
  cat >"$BED_DIR/kube-proxy.yaml" <<EOF
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: $BED_DIR/proxy.kubeconfig, qps: 200, burst: 400}
bindAddress: $NODE_IP
healthzBindAddress: $NODE_IP:10256
metricsBindAddress: 127.0.0.1:10249
hostnameOverride: node1
clusterCIDR: $POD_CIDR
oomScoreAdj: 0
mode: nftables
nftables: {minSyncPeriod: 10ms, syncPeriod: 30s}
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
EOF
  start_daemon kube-proxy kube-proxy --config "$BED_DIR/kube-proxy.yaml"
  wait_for 60 "node" in_bed kubectl --kubeconfig "$BED_KUBECONFIG" wait --for condition=Ready node/node1 --timeout 1s
}

kubelet_run() {
  start_daemon kubelet kubelet --config "$BED_DIR/kubelet.yaml" --kubeconfig "$BED_DIR/kubelet.kubeconfig" \
    --hostname-override node1 --node-ip "$NODE_IP" --root-dir /var/lib/kubelet
}
