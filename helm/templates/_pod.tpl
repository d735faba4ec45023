{{/*
The parts that all pods of the chart share. Called with a dict:
root: $. login: the JSON of checkpoint-ready.login.
certificate, if it is not that of the service: the JSON of checkpoint-ready.clientCertificate.
volumes, if this pod has more than the others: YAML.
*/}}
{{- define "checkpoint-ready.podSpec" -}}
{{- $root := .root -}}
{{- $login := fromJson .login -}}
{{- $client := fromJson (.certificate | default (include "checkpoint-ready.clientCertificate" .root)) -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  {{- with $root.Values.runAsUser }}
  runAsUser: {{ include "checkpoint-ready.plain" . }}
  runAsGroup: {{ include "checkpoint-ready.plain" . }}
  fsGroup: {{ include "checkpoint-ready.plain" . }}
  {{- end }}
  seccompProfile:
    type: RuntimeDefault
{{- with $root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- $ca := and (include "checkpoint-ready.hasTls" $root) $root.Values.kafka.tls.caSecret }}
{{- $sasl := include "checkpoint-ready.hasSasl" $root }}
volumes:
  # A replay or a backfill may need disk space. The service writes nothing to disk.
  - name: tmp
    emptyDir:
      sizeLimit: 256Mi
  {{- if include "checkpoint-ready.hasOauthbearer" $root }}
  {{- with include "checkpoint-ready.tokenSources" $root | trim }}
  - name: sasl
    projected:
      defaultMode: 0440
      sources:
        {{- . | nindent 8 }}
  {{- end }}
  {{- else if $sasl }}
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
              - key: {{ $root.Values.kafka.tls.caKey }}
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
  {{- with .volumes }}
  {{- . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/*
The parts that all containers share: image, permissions, mounts. Called with a dict:
root: $. resources, mounts, if this container has others, or more, than the others: a map; YAML.
*/}}
{{- define "checkpoint-ready.container" -}}
{{- $root := .root -}}
image: {{ include "checkpoint-ready.image" $root }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
command: [checkpoint-ready]
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
resources:
  {{- toYaml (.resources | default $root.Values.resources) | nindent 2 }}
volumeMounts:
  - name: tmp
    mountPath: /tmp
  {{- if and (include "checkpoint-ready.hasSasl" $root) (or (not (include "checkpoint-ready.hasOauthbearer" $root)) (include "checkpoint-ready.tokenSources" $root | trim)) }}
  - name: sasl
    mountPath: /etc/checkpoint-ready/sasl
    readOnly: true
  {{- end }}
  {{- if or (and (include "checkpoint-ready.hasTls" $root) $root.Values.kafka.tls.caSecret) (fromJson (include "checkpoint-ready.clientCertificate" $root)) }}
  - name: tls
    mountPath: /etc/checkpoint-ready/tls
    readOnly: true
  {{- end }}
  {{- with .mounts }}
  {{- . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* How the pods of one component are spread; empty if they are not. Called with (list $ COMPONENT). */}}
{{- define "checkpoint-ready.spread" -}}
{{- $labels := include "checkpoint-ready.componentLabels" . -}}
{{- with (index . 0).Values.spreadOver -}}
topologySpreadConstraints:
  {{- range . }}
  - topologyKey: {{ . }}
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- $labels | nindent 8 }}
    # During a rollout, pods are spread without regard to the pods of the old revision.
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- end -}}
{{- end -}}

{{- define "checkpoint-ready.extraEnv" -}}
{{- range $name, $value := .Values.extraEnv }}
- name: {{ $name }}
  value: {{ include "checkpoint-ready.plain" $value | quote }}
{{- end }}
{{- end -}}

{{- /*
The replicas of a Deployment; empty if an autoscaler or an operator sets them. Called with
(list $ NAME REPLICAS). NAME is the Deployment. REPLICAS is null if the chart does not set the number.

If the running revision sets the field replicas and the next revision omits it, Helm removes the field.
The API server then sets the default, one pod, until an autoscaler acts. So the chart writes the current
number of the cluster into the Deployment until it is safe to omit the field. With server-side apply
(Helm 4) that is safe as soon as another client has changed the field, because Helm then no longer owns
the field. With a three-way merge (Helm 3) it is never safe.
*/ -}}
{{- define "checkpoint-ready.replicas" -}}
{{- $root := index . 0 -}}
{{- if not (kindIs "invalid" (index . 2)) -}}
{{- index . 2 -}}
{{- else -}}
{{- $live := lookup "apps/v1" "Deployment" $root.Release.Namespace (index . 1) -}}
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
