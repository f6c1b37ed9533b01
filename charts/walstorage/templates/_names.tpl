{{- /* Names and labels. They are fixed: one operator serves a cluster, and a sidecar or a person finds it by name. */ -}}

{{- define "walstorage.name" -}}walstorage-operator{{- end -}}

{{- define "walstorage.crdName" -}}walstorages.wal.proximadb.io{{- end -}}

{{- define "walstorage.selector" -}}
app.kubernetes.io/name: walstorage-operator
{{- end -}}

{{- define "walstorage.labels" -}}
{{ include "walstorage.selector" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: walstorage
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
{{- end -}}

{{- define "walstorage.tag" -}}
{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{- /* The image, whole: also the one of the sidecars. */ -}}
{{- define "walstorage.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ include "walstorage.tag" $ }}{{ end }}
{{- end -}}
{{- end -}}

{{- /* The namespaces that are served, as a selector of namespaces; empty: all. */ -}}
{{- define "walstorage.namespaceSelector" -}}
{{- with .Values.namespaces -}}
matchExpressions:
  - {key: kubernetes.io/metadata.name, operator: In, values: {{ toJson . }}}
{{- end -}}
{{- end -}}
