{{/*
What the pods of a bridge (`ingest`, `poll`) have of their own, as JSON: name; login, as
checkpoint-ready.login; certificate, as checkpoint-ready.clientCertificate; topic; accounts, whose
checkpoints it lists; files, its configuration files: name -> content; secretFiles.
Called with (list $ COMPONENT). Without credentials of its own a bridge uses those of the service.
*/}}
{{- define "checkpoint-ready.bridge" -}}
{{- $ := index . 0 -}}
{{- $component := index . 1 -}}
{{- $kafka := (get $.Values $component).kafka -}}
{{- $name := include (printf "checkpoint-ready.%sName" $component) $ -}}
{{- $login := fromJson (include "checkpoint-ready.login" (list $ (printf "%s-sasl" (include "checkpoint-ready.fullname" $)))) -}}
{{- $certificate := fromJson (include "checkpoint-ready.clientCertificate" $) -}}
{{- if $.Values.strimzi.enabled -}}
{{- /* The user of the bridge is a KafkaUser of this name, and so is its Secret. */ -}}
{{- $login = dict "username" (dict "secret" (printf "%s-sasl" $name) "key" "username") "password" (dict "secret" $name "key" "password") -}}
{{- if $certificate -}}
{{- $_ := set $certificate "secret" $name -}}
{{- end -}}
{{- else -}}
{{- with $kafka.existingSecret -}}
{{- $login = fromJson (include "checkpoint-ready.loginOf" (list $ .)) -}}
{{- end -}}
{{- with $kafka.clientSecret -}}
{{- $_ := set $certificate "secret" . -}}
{{- end -}}
{{- end -}}
{{- $topic := (get $.Values $component).topic | default (first $.Values.topics.inputs) -}}
{{- $accounts := $.Values.poll.accounts -}}
{{- $files := dict -}}
{{- $secretFiles := (get $.Values $component).secretFiles -}}
{{- if eq $component "ingest" -}}
{{- $accounts = get (fromJson (include "checkpoint-ready.triggeredAccounts" $)) "accounts" -}}
{{- $_ := set $files "ingest.toml" (include "checkpoint-ready.ingestToml" $) -}}
{{- range splitList "\n" (include "checkpoint-ready.accountFiles" $accounts | trim) -}}
{{- $file := trimPrefix "/etc/checkpoint-ready/secrets/" . -}}
{{- with get $.Values.poll.secretFiles $file -}}
{{- $secretFiles = merge (dict $file .) $secretFiles -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if $accounts -}}
{{- $_ := set $files "accounts.toml" (include "checkpoint-ready.accountsToml" $accounts) -}}
{{- end -}}
{{- toJson (dict "name" $name "login" $login "certificate" $certificate "topic" $topic "accounts" $accounts "files" $files "secretFiles" $secretFiles) -}}
{{- end -}}

{{/* The accounts of poll.accounts whose jobs the webhooks report, as JSON: {accounts: [ACCOUNT]}. */}}
{{- define "checkpoint-ready.triggeredAccounts" -}}
{{- $names := list -}}
{{- range .Values.ingest.config.webhooks -}}
{{- with .account -}}
{{- $names = append $names . -}}
{{- end -}}
{{- end -}}
{{- $accounts := list -}}
{{- range .Values.poll.accounts -}}
{{- if has .name $names -}}
{{- $accounts = append $accounts . -}}
{{- end -}}
{{- end -}}
{{- toJson (dict "accounts" $accounts) -}}
{{- end -}}

{{/*
The template of a bridge's pods: metadata and spec. Called with a dict:
root: $. component: ingest or poll. arguments: a list. container, spec: YAML that only this kind of pod has.
*/}}
{{- define "checkpoint-ready.bridgePod" -}}
{{- $root := .root -}}
{{- $values := get .root.Values .component -}}
{{- $bridge := fromJson (include "checkpoint-ready.bridge" (list .root .component)) -}}
metadata:
  annotations:
    # The secrets are not part of a checksum: the processes read changed files again.
    checksum/config: {{ printf "%s\n%s" (include "checkpoint-ready.settings" .root) (toJson $bridge.files) | sha256sum }}
    checksum/login: {{ include "checkpoint-ready.ownLogin" .root | sha256sum }}
    {{- with $values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  labels:
    {{- with $values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- include "checkpoint-ready.podLabels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
spec:
  {{- include "checkpoint-ready.podSpec" (dict "root" .root "login" (toJson $bridge.login) "certificate" (toJson $bridge.certificate) "volumes" (include "checkpoint-ready.bridgeVolumes" $bridge)) | nindent 2 }}
  serviceAccountName: {{ include "checkpoint-ready.serviceAccountName" .root }}
  {{- with $values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- .spec | nindent 2 }}
  containers:
    - name: {{ .component }}
      {{- include "checkpoint-ready.container" (dict "root" .root "resources" $values.resources "mounts" (include "checkpoint-ready.bridgeMounts" $bridge.secretFiles)) | nindent 6 }}
      args:
        - {{ .component }}
        {{- if eq .component "ingest" }}
        - --config=/etc/checkpoint-ready/config/ingest.toml
        {{- if $bridge.accounts }}
        - --accounts=/etc/checkpoint-ready/config/accounts.toml
        {{- end }}
        {{- else }}
        - --config=/etc/checkpoint-ready/config/accounts.toml
        {{- end }}
        - --topic={{ $bridge.topic }}
        {{- range .arguments }}
        - {{ . }}
        {{- end }}
      envFrom:
        - configMapRef:
            name: {{ include "checkpoint-ready.fullname" .root }}
      {{- with include "checkpoint-ready.extraEnv" .root | trim }}
      env:
        {{- . | nindent 8 }}
      {{- end }}
      {{- with .container }}
      {{- . | nindent 6 }}
      {{- end }}
{{- end -}}

{{/* The egress rule for the providers of accounts. Called with (list $ ACCOUNTS). */}}
{{- define "checkpoint-ready.providerEgress" -}}
{{- $poll := (index . 0).Values.poll -}}
{{- $accounts := index . 1 -}}
{{- $ports := list -}}
{{- range $poll.providerPorts -}}
{{- $ports = append $ports (toString .) -}}
{{- else -}}
{{- range $accounts -}}
{{- $host := .base_url | default "" | trimPrefix "https://" | trimPrefix "http://" | splitList "/" | first -}}
{{- $default := hasPrefix "http://" (.base_url | default "") | ternary "80" "443" -}}
{{- $ports = append $ports (regexFind ":[0-9]+$" $host | trimPrefix ":" | default $default) -}}
{{- end -}}
{{- end -}}
- ports:
    {{- range uniq $ports }}
    - { port: {{ . }}, protocol: TCP }
    {{- end }}
  {{- with $poll.providerPeers }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* The volumes of the TOML files and of their secrets. Called with what checkpoint-ready.bridge returns. */}}
{{- define "checkpoint-ready.bridgeVolumes" -}}
- name: config
  configMap:
    name: {{ .name }}
    items:
      {{- range $file, $_ := .files }}
      - key: {{ $file }}
        path: {{ $file }}
      {{- end }}
{{- with .secretFiles }}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      {{- range $file, $place := . }}
      - secret:
          name: {{ $place.secret }}
          items:
            - key: {{ $place.key }}
              path: {{ $file }}
      {{- end }}
{{- end }}
{{- end -}}

{{/*
The mounts of these volumes. Whole folders are mounted, because the kubelet does not renew a file that is
mounted by its subPath. Called with the secret files.
*/}}
{{- define "checkpoint-ready.bridgeMounts" -}}
- name: config
  mountPath: /etc/checkpoint-ready/config
  readOnly: true
{{- if . }}
- name: secrets
  mountPath: /etc/checkpoint-ready/secrets
  readOnly: true
{{- end }}
{{- end -}}
