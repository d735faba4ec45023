{{- define "checkpoint-ready.fullname" -}}
{{- /* The name of a release can contain dots. In the name of a Service they are not allowed. */ -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains "checkpoint-ready" .Release.Name -}}
{{- .Release.Name | replace "." "-" | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-checkpoint-ready" .Release.Name | replace "." "-" | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The name of a CronJob can have at most 52 characters, because its Jobs get a suffix. */}}
{{- define "checkpoint-ready.replayName" -}}
{{ include "checkpoint-ready.fullname" . | trunc 45 | trimSuffix "-" }}-replay
{{- end -}}

{{/* The names of the objects of `ingest` and `poll`. The second one may be the name of a CronJob. */}}
{{- define "checkpoint-ready.ingestName" -}}
{{ include "checkpoint-ready.fullname" . }}-ingest
{{- end -}}

{{- define "checkpoint-ready.pollName" -}}
{{ include "checkpoint-ready.fullname" . | trunc 47 | trimSuffix "-" }}-poll
{{- end -}}

{{/* Never change these two labels: they are in the selector of the Deployment, which is immutable. */}}
{{- define "checkpoint-ready.releaseLabels" -}}
app.kubernetes.io/name: checkpoint-ready
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{/* The labels by which the pods of one component are selected. Called with (list $ COMPONENT). */}}
{{- define "checkpoint-ready.componentLabels" -}}
{{ include "checkpoint-ready.releaseLabels" (index . 0) }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "checkpoint-ready.selectorLabels" -}}
{{ include "checkpoint-ready.componentLabels" (list . "service") }}
{{- end -}}

{{- define "checkpoint-ready.labels" -}}
{{ include "checkpoint-ready.releaseLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* The labels of pods omit the chart version: a new chart version alone must not restart the pods. */}}
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

{{/* How Prometheus scrapes the metrics, for both kinds of monitor. */}}
{{- define "checkpoint-ready.scrape" -}}
- port: http
  path: /metrics
  interval: {{ .Values.monitoring.intervalSeconds }}s
  scrapeTimeout: {{ min 10 (int .Values.monitoring.intervalSeconds) }}s
{{- end -}}
