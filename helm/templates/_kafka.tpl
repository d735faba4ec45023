{{/* The topics of this service, as JSON: name -> how error messages call it. */}}
{{- define "checkpoint-ready.ownTopics" -}}
{{- $group := .Values.groupId -}}
{{- $own := dict -}}
{{- $_ := set $own .Values.topics.output "topics.output" -}}
{{- $_ := set $own .Values.topics.deadLetters "topics.deadLetters" -}}
{{- $_ := set $own (printf "%s.changelog" $group) "the changelog of groupId" -}}
{{- $_ := set $own (printf "%s.repartition" $group) "the repartition topic of groupId" -}}
{{- $_ := set $own (printf "%s.jobs" $group) "the jobs topic of groupId" -}}
{{- toJson $own -}}
{{- end -}}

{{- define "checkpoint-ready.hasSasl" -}}
{{- if hasPrefix "SASL_" .Values.kafka.securityProtocol }}yes{{ end -}}
{{- end -}}

{{- define "checkpoint-ready.hasTls" -}}
{{- if hasSuffix "SSL" .Values.kafka.securityProtocol }}yes{{ end -}}
{{- end -}}

{{/*
Where the credentials are, as JSON: {username: {secret, key}, password: {secret, key}}.
Called with (list $ NAME). NAME is the chart's own Secret, with the credentials that the values contain.
*/}}
{{- define "checkpoint-ready.login" -}}
{{- $ := index . 0 -}}
{{- $own := index . 1 -}}
{{- $sasl := $.Values.kafka.sasl -}}
{{- $username := dict "secret" $own "key" "username" -}}
{{- $password := dict "secret" $own "key" "password" -}}
{{- if $.Values.strimzi.enabled -}}
{{- $password = dict "secret" (include "checkpoint-ready.fullname" $) "key" "password" -}}
{{- else if $sasl.existingSecret -}}
{{- $password = dict "secret" $sasl.existingSecret "key" $sasl.passwordKey -}}
{{- if not $sasl.username -}}
{{- $username = dict "secret" $sasl.existingSecret "key" $sasl.usernameKey -}}
{{- end -}}
{{- end -}}
{{- toJson (dict "username" $username "password" $password) -}}
{{- end -}}

{{/* The same for an existing Secret with both credentials. Called with (list $ SECRET). */}}
{{- define "checkpoint-ready.loginOf" -}}
{{- $sasl := (index . 0).Values.kafka.sasl -}}
{{- $secret := index . 1 -}}
{{- toJson (dict "username" (dict "secret" $secret "key" $sasl.usernameKey) "password" (dict "secret" $secret "key" $sasl.passwordKey)) -}}
{{- end -}}

{{/* The data of the chart's own Secret: the credentials that the values contain; empty if they have none. */}}
{{- define "checkpoint-ready.ownLogin" -}}
{{- $sasl := .Values.kafka.sasl -}}
{{- if include "checkpoint-ready.hasSasl" . -}}
{{- $username := ternary (include "checkpoint-ready.fullname" .) $sasl.username .Values.strimzi.enabled -}}
{{- with $username }}
username: {{ . | b64enc | quote }}
{{- end }}
{{- with $sasl.password }}
password: {{ . | b64enc | quote }}
{{- end }}
{{- end -}}
{{- end -}}

{{/* The Secret of mutual TLS, as JSON; {} if there is none. Strimzi names it like the KafkaUser. */}}
{{- define "checkpoint-ready.clientCertificate" -}}
{{- $tls := .Values.kafka.tls -}}
{{- if and .Values.strimzi.enabled (eq .Values.kafka.securityProtocol "SSL") -}}
{{- toJson (dict "secret" (include "checkpoint-ready.fullname" .) "cert" "user.crt" "key" "user.key") -}}
{{- else if $tls.clientSecret -}}
{{- toJson (dict "secret" $tls.clientSecret "cert" $tls.certKey "key" $tls.keyKey) -}}
{{- else -}}
{}
{{- end -}}
{{- end -}}

{{/* Formats a number. Helm holds numbers as floats: 2592000 must not become 2.592e+06, nor 0.1 become 0. */}}
{{- define "checkpoint-ready.plain" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) }}{{ int64 . }}{{ else }}{{ . }}{{ end -}}
{{- end -}}

{{/* The number of a Kubernetes quantity such as 1.5Gi or 500m; empty if the value is no quantity. */}}
{{- define "checkpoint-ready.quantity" -}}
{{- $text := include "checkpoint-ready.plain" . -}}
{{- $unit := get (dict "u" 1 "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0) (regexFind "[A-Za-z]*$" $text | default "u") -}}
{{- if and $unit (regexMatch "^[0-9.]+[A-Za-z]*$" $text) -}}
{{ printf "%f" (mulf (regexFind "^[0-9.]+" $text | float64) $unit) }}
{{- end -}}
{{- end -}}

{{- define "checkpoint-ready.hasOauthbearer" -}}
{{- if and (include "checkpoint-ready.hasSasl" .) (eq .Values.kafka.sasl.mechanism "OAUTHBEARER") }}yes{{ end -}}
{{- end -}}

{{/* The sources of the projected volume of the login by token, as YAML; empty if it needs no file. */}}
{{- define "checkpoint-ready.tokenSources" -}}
{{- $o := .Values.kafka.sasl.oauthbearer -}}
{{- range $file, $place := dict "client-secret" $o.clientSecret "private-key.pem" $o.privateKey "ca.crt" (dict "secret" $o.caSecret "key" $o.caKey) -}}
{{- if $place.secret }}
- secret:
    name: {{ $place.secret }}
    items:
      - key: {{ $place.key }}
        path: {{ $file }}
{{- end -}}
{{- end -}}
{{- with $o.serviceAccountToken.audience }}
- serviceAccountToken:
    audience: {{ . | quote }}
    expirationSeconds: {{ include "checkpoint-ready.plain" $o.serviceAccountToken.expirationSeconds }}
    path: token
{{- end -}}
{{- end -}}

{{/* The settings of the login by token, as JSON. */}}
{{- define "checkpoint-ready.tokenSettings" -}}
{{- $o := .Values.kafka.sasl.oauthbearer -}}
{{- $env := dict "PROVIDER" $o.provider -}}
{{- $folder := "/etc/checkpoint-ready/sasl" -}}
{{- range $name, $value := dict "TOKEN_ENDPOINT_URL" $o.tokenEndpointUrl "CLIENT_CREDENTIALS_CLIENT_ID" $o.clientId "SCOPE" $o.scope "AUDIENCE" $o.audience "ASSERTION_KEY_ID" $o.assertionKeyId "ASSERTION_CLAIM_AUD" $o.assertionAudience -}}
{{- with $value -}}
{{- $_ := set $env $name . -}}
{{- end -}}
{{- end -}}
{{- if $o.clientSecret.secret -}}
{{- $_ := set $env "CLIENT_CREDENTIALS_CLIENT_SECRET_FILE" (printf "%s/client-secret" $folder) -}}
{{- $_ := set $env "HEADER_URLENCODE" (toString $o.headerUrlencode) -}}
{{- end -}}
{{- if $o.privateKey.secret -}}
{{- $_ := set $env "ASSERTION_PRIVATE_KEY_FILE" (printf "%s/private-key.pem" $folder) -}}
{{- $_ := set $env "ASSERTION_ALGORITHM" $o.assertionAlgorithm -}}
{{- end -}}
{{- if $o.serviceAccountToken.audience -}}
{{- $_ := set $env (ternary "TOKEN_FILE" "ASSERTION_FILE" (eq $o.provider "file")) (printf "%s/token" $folder) -}}
{{- end -}}
{{- if $o.caSecret -}}
{{- $_ := set $env "SSL_CAFILE" (printf "%s/ca.crt" $folder) -}}
{{- end -}}
{{- $extensions := list -}}
{{- range $name, $value := $o.extensions -}}
{{- $extensions = append $extensions (printf "%s=%s" $name $value) -}}
{{- end -}}
{{- with $extensions -}}
{{- $_ := set $env "EXTENSIONS" (join "," .) -}}
{{- end -}}
{{- toJson $env -}}
{{- end -}}

{{/* The settings of every process, except secrets, as a YAML map. */}}
{{- define "checkpoint-ready.settings" -}}
{{- $env := dict -}}
{{- range $name, $value := .Values.config -}}
{{- if not (kindIs "invalid" $value) -}}
{{- $_ := set $env $name (include "checkpoint-ready.plain" $value) -}}
{{- end -}}
{{- end -}}
{{- $_ := set $env "BOOTSTRAP_SERVERS" .Values.kafka.bootstrapServers -}}
{{- $_ := set $env "GROUP_ID" .Values.groupId -}}
{{- $_ := set $env "INPUT_TOPICS" (join "," .Values.topics.inputs) -}}
{{- $_ := set $env "OUTPUT_TOPIC" .Values.topics.output -}}
{{- $_ := set $env "DEAD_LETTER_TOPIC" .Values.topics.deadLetters -}}
{{- $_ := set $env "HTTP_PORT" (include "checkpoint-ready.plain" .Values.httpPort) -}}
{{- $_ := set $env "SECURITY_PROTOCOL" .Values.kafka.securityProtocol -}}
{{- with .Values.shards -}}
{{- $_ := set $env "SHARDS" (include "checkpoint-ready.plain" .) -}}
{{- end -}}
{{- if include "checkpoint-ready.hasOauthbearer" . -}}
{{- $_ := set $env "SASL_MECHANISM" "OAUTHBEARER" -}}
{{- range $name, $value := fromJson (include "checkpoint-ready.tokenSettings" .) -}}
{{- $_ := set $env (printf "SASL_OAUTHBEARER_%s" $name) $value -}}
{{- end -}}
{{- else if include "checkpoint-ready.hasSasl" . -}}
{{- $_ := set $env "SASL_MECHANISM" .Values.kafka.sasl.mechanism -}}
{{- $_ := set $env "SASL_USERNAME_FILE" "/etc/checkpoint-ready/sasl/username" -}}
{{- $_ := set $env "SASL_PASSWORD_FILE" "/etc/checkpoint-ready/sasl/password" -}}
{{- end -}}
{{- if and (include "checkpoint-ready.hasTls" .) .Values.kafka.tls.caSecret -}}
{{- $_ := set $env "SSL_CAFILE" "/etc/checkpoint-ready/tls/ca.crt" -}}
{{- end -}}
{{- if fromJson (include "checkpoint-ready.clientCertificate" .) -}}
{{- $_ := set $env "SSL_CERTFILE" "/etc/checkpoint-ready/tls/client.crt" -}}
{{- $_ := set $env "SSL_KEYFILE" "/etc/checkpoint-ready/tls/client.key" -}}
{{- end -}}
{{- range $name, $value := $env }}
CHECKPOINT_READY_{{ $name }}: {{ $value | quote }}
{{- end -}}
{{- end -}}

{{/* One ACL of a KafkaUser: type, name, operations, and the pattern type unless it is literal. */}}
{{- define "checkpoint-ready.acl" }}
- resource: { type: {{ .type }}, name: {{ .name | quote }}, patternType: {{ .pattern | default "literal" }} }
  operations: {{ toJson .operations }}
{{- end -}}

{{/* A KafkaUser up to its list of ACLs. Called with (list $ API-VERSION NAME). */}}
{{- define "checkpoint-ready.kafkaUser" -}}
{{- $ := index . 0 -}}
apiVersion: {{ index . 1 }}
kind: KafkaUser
metadata:
  name: {{ index . 2 }}
  labels:
    {{- include "checkpoint-ready.labels" $ | nindent 4 }}
    strimzi.io/cluster: {{ $.Values.strimzi.cluster }}
spec:
  {{- if or (include "checkpoint-ready.hasSasl" $) (eq $.Values.kafka.securityProtocol "SSL") }}
  authentication:
    type: {{ ternary "scram-sha-512" "tls" (eq (include "checkpoint-ready.hasSasl" $) "yes") }}
  {{- end }}
  authorization:
    type: simple
    # The ACLs that `checkpoint-ready acls` lists. Read, Write and Delete imply Describe.
    acls:
{{- end -}}

{{/* The egress rules of a NetworkPolicy: DNS and the brokers. */}}
{{- define "checkpoint-ready.egress" -}}
{{- $ports := .Values.networkPolicy.kafkaPorts -}}
{{- if not $ports -}}
{{- range splitList "," .Values.kafka.bootstrapServers -}}
{{- $ports = append $ports (regexReplaceAll ".*:" . "" | trim | int) -}}
{{- end -}}
{{- end -}}
egress:
  # DNS, to any address.
  - ports:
      - { port: 53, protocol: UDP }
      - { port: 53, protocol: TCP }
      # DNS on OpenShift, where a policy must allow the target port of the DNS Service.
      - { port: 5353, protocol: UDP }
      - { port: 5353, protocol: TCP }
  - ports:
      {{- range uniq $ports }}
      - { port: {{ . }}, protocol: TCP }
      {{- end }}
    {{- with .Values.networkPolicy.kafkaPeers }}
    to:
      {{- toYaml . | nindent 6 }}
    {{- end }}
  {{- if include "checkpoint-ready.hasOauthbearer" . }}
  {{- $o := .Values.kafka.sasl.oauthbearer }}
  {{- if eq $o.provider "oidc" }}
  {{- $host := $o.tokenEndpointUrl | trimPrefix "https://" | trimPrefix "http://" | splitList "/" | first }}
  {{- $default := hasPrefix "http://" $o.tokenEndpointUrl | ternary "80" "443" }}
  # The token endpoint.
  - ports:
      - { port: {{ regexFind ":[0-9]+$" $host | trimPrefix ":" | default $default }}, protocol: TCP }
  {{- else if has $o.provider (list "aws_msk_iam" "azure" "gcp") }}
  # The token service of the cloud, and its metadata server.
  - ports:
      - { port: 443, protocol: TCP }
      - { port: 80, protocol: TCP }
  {{- end }}
  {{- end }}
  {{- with .Values.networkPolicy.extraEgress }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}
