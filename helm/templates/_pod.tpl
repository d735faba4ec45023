{{/*
The parts that all pods of the chart share. Called with (list $ LOGIN). LOGIN is the JSON of
checkpoint-ready.login.
*/}}
{{- define "checkpoint-ready.podSpec" -}}
{{- $ := index . 0 -}}
{{- $login := fromJson (index . 1) -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with $.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  {{- with $.Values.runAsUser }}
  runAsUser: {{ include "checkpoint-ready.plain" . }}
  runAsGroup: {{ include "checkpoint-ready.plain" . }}
  fsGroup: {{ include "checkpoint-ready.plain" . }}
  {{- end }}
  seccompProfile:
    type: RuntimeDefault
{{- with $.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $.Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- $ca := and (include "checkpoint-ready.hasTls" $) $.Values.kafka.tls.caSecret }}
{{- $client := fromJson (include "checkpoint-ready.clientCertificate" $) }}
{{- $sasl := include "checkpoint-ready.hasSasl" $ }}
volumes:
  # A replay or a backfill may need disk space. The service writes nothing to disk.
  - name: tmp
    emptyDir:
      sizeLimit: 256Mi
  {{- if $sasl }}
  - name: sasl
    projected:
      defaultMode: 0440
      sources:
        - secret:
            name: {{ $login.username.secret }}
            items:
              - key: {{ $login.username.key }}
                path: username
        - secret:
            name: {{ $login.password.secret }}
            items:
              - key: {{ $login.password.key }}
                path: password
  {{- end }}
  {{- if or $ca $client }}
  - name: tls
    projected:
      defaultMode: 0440
      sources:
        {{- with $ca }}
        - secret:
            name: {{ . }}
            items:
              - key: {{ $.Values.kafka.tls.caKey }}
                path: ca.crt
        {{- end }}
        {{- with $client }}
        - secret:
            name: {{ .secret }}
            items:
              - key: {{ .cert }}
                path: client.crt
              - key: {{ .key }}
                path: client.key
        {{- end }}
  {{- end }}
{{- end -}}

{{/* The parts that all containers share: image, permissions, mounts. Called with $. */}}
{{- define "checkpoint-ready.container" -}}
image: {{ include "checkpoint-ready.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
command: [checkpoint-ready]
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
resources:
  {{- toYaml .Values.resources | nindent 2 }}
volumeMounts:
  - name: tmp
    mountPath: /tmp
  {{- if include "checkpoint-ready.hasSasl" . }}
  - name: sasl
    mountPath: /etc/checkpoint-ready/sasl
    readOnly: true
  {{- end }}
  {{- if or (and (include "checkpoint-ready.hasTls" .) .Values.kafka.tls.caSecret) (fromJson (include "checkpoint-ready.clientCertificate" .)) }}
  - name: tls
    mountPath: /etc/checkpoint-ready/tls
    readOnly: true
  {{- end }}
{{- end -}}

{{- define "checkpoint-ready.extraEnv" -}}
{{- range $name, $value := .Values.extraEnv }}
- name: {{ $name }}
  value: {{ include "checkpoint-ready.plain" $value | quote }}
{{- end }}
{{- end -}}

{{- /*
The replicas of the Deployment; empty if an autoscaler or an operator sets them.

If the running revision sets the field replicas and the next revision omits it, Helm removes the field.
The API server then sets the default, one pod, until an autoscaler acts. So the chart writes the current
number of the cluster into the Deployment until it is safe to omit the field. With server-side apply
(Helm 4) that is safe as soon as another client has changed the field, because Helm then no longer owns
the field. With a three-way merge (Helm 3) it is never safe.
*/ -}}
{{- define "checkpoint-ready.replicas" -}}
{{- if not (or .Values.keda.enabled .Values.hpa.enabled (kindIs "invalid" .Values.replicas)) -}}
{{- .Values.replicas -}}
{{- else -}}
{{- $live := lookup "apps/v1" "Deployment" .Release.Namespace (include "checkpoint-ready.fullname" .) -}}
{{- if $live -}}
{{- $isStated := hasKey ($live.metadata.annotations | default dict) "checkpoint-ready/replicas" -}}
{{- range $live.metadata.managedFields -}}
{{- $spec := get (.fieldsV1 | default dict) "f:spec" | default dict -}}
{{- if and (eq .operation "Apply") (hasKey $spec "f:template") (not (hasKey $spec "f:replicas")) -}}
{{- $isStated = false -}}
{{- end -}}
{{- end -}}
{{- if $isStated -}}
{{- int $live.spec.replicas -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
