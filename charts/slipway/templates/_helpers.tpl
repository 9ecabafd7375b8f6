{{/* The name of everything: that of the Helm release, so that `helm install slipway` gives `slipway`. A Service has no dots in its name. */}}
{{- define "slipway.name" -}}
{{- $name := ternary .Release.Name (printf "%s-slipway" .Release.Name) (contains "slipway" .Release.Name) -}}
{{- $name | replace "." "-" | trunc 53 | trimSuffix "-" -}}
{{- end -}}

{{- define "slipway.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "slipway.name" .) -}}
{{- end -}}

{{/* For selectors, which never change. */}}
{{- define "slipway.selector" -}}
app.kubernetes.io/name: slipway
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "slipway.labels" -}}
{{ include "slipway.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "slipway.image" -}}
{{- $repository := required "image.repository is required: the repository that the controller's image was pushed to" .Values.image.repository -}}
{{- if .Values.image.digest -}}
{{ $repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ $repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* What builds images, as `--builder` reads it. */}}
{{- define "slipway.builder" -}}
{{- $name := include "slipway.name" . -}}
{{- $builder := dict
  "namespace" .Values.builds.namespace
  "image" .Values.builds.image
  "ownImage" (include "slipway.image" .)
  "isolation" .Values.builds.isolation
  "repositories" .Values.builds.repositories
  "config" (printf "%s-buildkitd" $name)
  "plainHttp" .Values.registry.plainHttp
  "serviceAccount" (printf "%s-build" $name)
  "env" .Values.builds.env
  "resources" .Values.builds.resources
  "disk" .Values.builds.disk
  "nodeSelector" .Values.builds.nodeSelector
  "tolerations" .Values.builds.tolerations
  "provenance" .Values.builds.provenance -}}
{{- if .Values.builds.pushSecret }}{{ $_ := set $builder "pushSecret" .Values.builds.pushSecret }}{{ end -}}
{{- if .Values.builds.secret }}{{ $_ := set $builder "secret" .Values.builds.secret }}{{ end -}}
{{- if .Values.builds.cache.enabled }}{{ $_ := set $builder "cache" (ternary (dict "repository" .Values.builds.cache.repository) (dict) (ne .Values.builds.cache.repository "")) }}{{ end -}}
{{- if trim .Values.caBundle }}{{ $_ := set $builder "caBundle" (printf "%s-build-ca" $name) }}{{ end -}}
{{- $builder | toJson -}}
{{- end -}}
