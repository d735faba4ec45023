{{- define "checkpoint-ready.fullname" -}}
{{- /* A release may have dots in its name, a Service may not. */ -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains "checkpoint-ready" .Release.Name -}}
{{- .Release.Name | replace "." "-" | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-checkpoint-ready" .Release.Name | replace "." "-" | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* A CronJob's name may have 52 characters, for its Jobs' have more. */}}
{{- define "checkpoint-ready.replayName" -}}
{{ include "checkpoint-ready.fullname" . | trunc 45 | trimSuffix "-" }}-replay
{{- end -}}

{{/* Never change these two: a Deployment's selector is immutable. */}}
{{- define "checkpoint-ready.releaseLabels" -}}
app.kubernetes.io/name: checkpoint-ready
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "checkpoint-ready.selectorLabels" -}}
{{ include "checkpoint-ready.releaseLabels" . }}
app.kubernetes.io/component: service
{{- end -}}

{{- define "checkpoint-ready.labels" -}}
{{ include "checkpoint-ready.releaseLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Without the chart's version: a new chart alone must not restart every process. */}}
{{- define "checkpoint-ready.podLabels" -}}
{{ include "checkpoint-ready.releaseLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end -}}

{{- define "checkpoint-ready.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "checkpoint-ready.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "checkpoint-ready.fullname" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end -}}

{{/* How metrics are read, for both kinds of monitor. */}}
{{- define "checkpoint-ready.scrape" -}}
- port: http
  path: /metrics
  interval: {{ .Values.monitoring.intervalSeconds }}s
  scrapeTimeout: {{ min 10 (int .Values.monitoring.intervalSeconds) }}s
{{- end -}}
