# shellcheck shell=bash
# API server, controller manager and, in tier b, the scheduler.

part_controlplane_start() {
  local pki=$BED_PKI
  # Tests read the audit log to the end right after a request: it is written before the answer goes out, and never rotated
  # (the size is in megabytes; 0 would mean 100).
  start_daemon apiserver kube-apiserver \
    --etcd-servers http://127.0.0.1:2379 --advertise-address "$NODE_IP" --secure-port 6443 \
    --service-cluster-ip-range "$SERVICE_CIDR" --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction \
    --allow-privileged=true --profiling=false \
    --client-ca-file "$pki/ca.crt" --tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key" \
    --kubelet-preferred-address-types InternalIP,Hostname --kubelet-certificate-authority "$pki/ca.crt" \
    --kubelet-client-certificate "$pki/apiserver-kubelet.crt" --kubelet-client-key "$pki/apiserver-kubelet.key" \
    --requestheader-client-ca-file "$pki/ca.crt" --requestheader-allowed-names front-proxy \
    --requestheader-username-headers X-Remote-User --requestheader-group-headers X-Remote-Group \
    --requestheader-extra-headers-prefix X-Remote-Extra- \
    --proxy-client-cert-file "$pki/front-proxy.crt" --proxy-client-key-file "$pki/front-proxy.key" \
    --service-account-issuer https://kubernetes.default.svc.cluster.local \
    --service-account-key-file "$pki/service-accounts.pub" --service-account-signing-key-file "$pki/service-accounts.key" \
    --audit-policy-file "$BED_HOME/audit-policy.yaml" --audit-log-path "$BED_AUDIT_LOG" --audit-log-format json \
    --audit-log-mode blocking-strict --audit-log-maxsize 1000000
  # The controller manager gives up without an API server, so that one first.
  wait_for 60 "API server" controlplane_ready

  controller_manager_run "$GRACE"
  if [[ $TIER == b ]]; then
    start_daemon scheduler kube-scheduler --kubeconfig "$BED_DIR/scheduler.kubeconfig" --leader-elect=false
  fi
  # For who asks often: a socket is reached from outside, without a process in the bed for each question.
  start_daemon api kubectl --kubeconfig "$BED_KUBECONFIG" proxy --unix-socket "$BED_RUN/api.sock"
  wait_for 30 "default service account" \
    curl --silent --fail --unix-socket "$BED_RUN/api.sock" http://localhost/api/v1/namespaces/default/serviceaccounts/default
}

controlplane_ready() {
  in_bed curl --silent --fail --max-time 2 --cacert "$BED_PKI/ca.crt" --cert "$BED_PKI/admin.crt" --key "$BED_PKI/admin.key" \
    "https://$NODE_IP:6443/readyz"
}

# How long a node may be silent: as Kubernetes has it, which a busy machine needs.
GRACE=50s

# controller_manager_run GRACE
controller_manager_run() {
  local pki=$BED_PKI
  start_daemon controller-manager kube-controller-manager \
    --kubeconfig "$BED_DIR/controller-manager.kubeconfig" --leader-elect=false --use-service-account-credentials=true \
    --controllers '*' --root-ca-file "$pki/ca.crt" --service-account-private-key-file "$pki/service-accounts.key" \
    --cluster-signing-cert-file "$pki/ca.crt" --cluster-signing-key-file "$pki/ca.key" \
    --service-cluster-ip-range "$SERVICE_CIDR" --cluster-cidr "$POD_CIDR" --allocate-node-cidrs=true \
    --node-monitor-grace-period "$1"
}
